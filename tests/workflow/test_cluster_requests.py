"""The table of requests in docs/cluster.md is that of the rules."""

import subprocess
import sys

from tests.pipeline import CHECKOUT


def test_the_table_on_the_page_is_current():
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster_requests"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("| rules |") :].strip()
    assert len(table.splitlines()) > 30
    remedy = "put the output of python -m tests.cluster_requests into docs/cluster.md"
    assert table in (CHECKOUT / "docs" / "cluster.md").read_text(), remedy

"""Another workflow uses this one as a module."""

import subprocess
import sys

from tests.pipeline import CHECKOUT

SNAKEFILE = f"""
configfile: "mine.yaml"

module cortex:
    snakefile: "{CHECKOUT}/Snakefile"
    config: config

use rule * from cortex as cortex_*

rule mine:
    default_target: True
    input: "results/tiny/data/test/000000.parquet"
    output: "rows.txt"
    shell: "python -c 'import pyarrow.parquet as pq; print(pq.read_table(\\"{{input}}\\").num_rows)' > {{output}}"
"""


def test_a_rule_of_another_workflow_reads_what_a_rule_of_this_one_makes(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "mine.yaml").write_text((CHECKOUT / "tests" / "tiny.yaml").read_text())
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "rows.txt").read_text() == "12\n", "4 test images of each of 3 classes"
    assert "cortex_generate_shard" in done.stderr

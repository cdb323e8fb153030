"""The study of docs/extend.md with a command, a rule and a section of the report, in files beside the config."""

import re
import shutil
import subprocess
import sys
from itertools import pairwise

import pandas as pd
import pytest

from cortex.data.tokens import read_tokens
from tests.pipeline import CHECKOUT, change_config, jobs_in, made, snakemake


@pytest.fixture(scope="module")
def folder(tiny_run, tmp_path_factory):
    """A copy of the tiny run in which the target ``full`` has been made with the study."""
    folder = shutil.copytree(tiny_run, tmp_path_factory.mktemp("own") / "run", symlinks=True)
    page = (CHECKOUT / "docs" / "extend.md").read_text()
    (folder / "my_methods.py").write_text("\n\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)))
    (rules,) = re.findall(r"```snakemake\n(.*?)```", page, re.DOTALL)
    (folder / "repeats.smk").write_text(rules)
    change_config(folder / "tests/tiny.yaml", {"studies": {"repeats": {"study": "my_methods:REPEATS"}}})
    done = made(folder, "full")
    assert jobs_in(done).keys() == {"count_repeats", "report"}
    return folder


def expected(folder):
    """By label, the share of positions that hold the code of their left neighbour."""
    found = {}
    for path in sorted((folder / "results/tiny/data/test").glob("*.parquet")):
        images = read_tokens([path])
        for label, grid in zip(images.labels.tolist(), images.grids.tolist(), strict=True):
            found.setdefault(label, []).extend(a == b for row in grid for a, b in pairwise(row))
    return {label: sum(equal) / len(equal) for label, equal in found.items()}


def test_its_rule_and_its_section_are_those_of_the_run(folder):
    metrics = pd.read_parquet(folder / "results/tiny/metrics/repeats.parquet")
    assert dict(zip(metrics["label"], metrics["value"], strict=True)) == pytest.approx(expected(folder))
    page = (folder / "results/tiny/report.html").read_text()
    assert "Do neighbours hold the same code?" in page and "Equal neighbours" in page


def test_its_command_works_at_the_shell_with_the_config(folder):
    program = shutil.which("cortex", path=str(CHECKOUT / ".venv/bin")) or f"{sys.executable} -m cortex"
    tokens = sorted((folder / "results/tiny/data/test").glob("*.parquet"))
    command = [*program.split(), "--config", "tests/tiny.yaml", "count-repeats", "--output", "own.parquet", "--tokens"]
    subprocess.run([*command, *tokens], cwd=folder, check=True)
    found = pd.read_parquet(folder / "own.parquet")
    assert dict(zip(found["label"], found["value"], strict=True)) == pytest.approx(expected(folder))


def test_a_change_of_its_code_repeats_its_job(folder):
    again = snakemake(folder, "full", "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr
    text = (folder / "my_methods.py").read_text()
    (folder / "my_methods.py").write_text(text.replace(".mean((1, 2))\n    labels", ".mean((2, 1))\n    labels"))
    assert jobs_in(snakemake(folder, "full", "--dry-run")).keys() == {"count_repeats", "report"}

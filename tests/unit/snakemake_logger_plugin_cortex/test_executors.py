"""An executor that is not installed is told in one line, before Snakemake prints its usage."""

import importlib.util
import sys

import pytest

from snakemake_logger_plugin_cortex.executors import check_executor, missing_executor
from tests.pipeline import CHECKOUT

SLURM = str(CHECKOUT / "profiles" / "slurm")


@pytest.fixture
def without(monkeypatch):
    """Python without executor plugins."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "executor" in name else find(name))


@pytest.mark.parametrize("program", ["/bin/snakemake", "lib/snakemake/__main__.py"])
@pytest.mark.parametrize("words", [["--profile", SLURM], [f"--profile={SLURM}"]])
def test_what_to_install_is_told(without, program, words):
    told = missing_executor([program, "--configfile", "mine.yaml", *words])
    assert told == (
        f"snakemake: profile {SLURM}: its executor 'slurm' is not installed; "
        "install snakemake-executor-plugin-slurm (pip)"
    )


def test_the_process_ends_with_that_line(without, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/bin/snakemake", "--profile", SLURM])
    with pytest.raises(SystemExit, match=r"^snakemake: profile .*: its executor 'slurm' is not installed; install "):
        check_executor()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["/bin/snakemake"],
        ["/bin/snakemake", "--profile"],
        ["/bin/snakemake", "--profile", str(CHECKOUT / "profiles" / "default")],
        ["/bin/snakemake", "--profile", "none"],
        ["/bin/pytest", "--profile", SLURM],
        ["/lib/cortex/__main__.py", "--profile", SLURM],
    ],
)
def test_other_commands_go_on(without, arguments):
    assert missing_executor(arguments) is None


def test_an_executor_that_is_installed_goes_on(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("json") if "executor" in name else find(name))
    assert missing_executor(["/bin/snakemake", "--profile", SLURM]) is None

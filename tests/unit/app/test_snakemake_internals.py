"""What depends on Snakemake's internals says so where they are others."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake.persistence

from cortex.app.snakemake_internals import Job, keep_records_in_jobs, planned_jobs
from cortex.core.errors import InputError

SNAKEFILE = """
rule all:
    input:
        expand("{name}.{end}", name=["a", "b"], end="copy"),

rule copy:
    input:
        "source.txt",
    output:
        "{name}.copy",
    shell:
        "cp {input} {output}"
"""


@pytest.fixture
def workflow(tmp_path, monkeypatch):
    """A folder with a workflow of two jobs, of which one is done."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"Snakefile": SNAKEFILE, "config.yaml": "{}", "source.txt": "", "a.copy": ""}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.workflow
def test_all_jobs_are_planned_with_their_wildcards_done_or_not(workflow):
    assert planned_jobs(Path("config.yaml"), "b.copy") == [Job("copy", {"name": "b"})]
    jobs = planned_jobs(Path("config.yaml"), "all")
    assert sorted(jobs, key=str) == [Job("copy", {"name": "a"}), Job("copy", {"name": "b"})]
    assert not (workflow / "b.copy").exists()


@pytest.mark.workflow
def test_what_snakemake_refuses_is_told(workflow):
    (workflow / "source.txt").unlink()
    with pytest.raises(InputError, match=r"Snakefile: Snakemake plans no jobs: .*source.txt") as error:
        planned_jobs(Path("config.yaml"), "all")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("remote", [False, True])
def test_a_clusters_jobs_keep_their_records(monkeypatch, remote):
    before = snakemake.persistence.ExecMode
    monkeypatch.setattr(snakemake.persistence, "ExecMode", before)
    keep_records_in_jobs(SimpleNamespace(remote_exec=remote, exec_mode="remote"))
    kept_by = snakemake.persistence.ExecMode.DEFAULT
    assert kept_by == ("remote" if remote else before.DEFAULT)


def test_a_snakemake_with_other_internals_is_told_of_and_left_alone(monkeypatch, caplog):
    monkeypatch.delattr(snakemake.persistence, "ExecMode")
    with caplog.at_level(logging.WARNING):
        keep_records_in_jobs(SimpleNamespace(remote_exec=True, exec_mode="remote"))
    assert "another way than 9.27" in caplog.text
    assert not hasattr(snakemake.persistence, "ExecMode")

"""What a command puts on record of its cost is what it used."""

import csv
import os
import time
from pathlib import Path

import pytest

from cortex.app.job_cost import RUN, spent, with_cost

NUMBERS = ("seconds", "cpu_seconds", "start_up_seconds", "max_rss_mb")


def work(output: Path, *, cpu: float = 0.0, sleep: float = 0.0) -> None:
    """Use CPU time, then none."""
    end = time.process_time() + cpu
    while time.process_time() < end:
        pass
    time.sleep(sleep)
    output.write_text("done")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a run, named to its commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(RUN, "results/mine")
    folder = Path("results/mine")
    folder.mkdir(parents=True)
    return folder


def records(run):
    """Records by name."""
    folder = run / "benchmarks"
    read = {path: list(csv.DictReader(path.read_text().splitlines(), delimiter="\t")) for path in folder.rglob("*.tsv")}
    return {str(path.relative_to(folder)): row for path, (row,) in read.items()}


def test_a_command_that_works_and_one_that_waits(run):
    for name, options in {"works": {"cpu": 0.3}, "waits": {"sleep": 0.3}}.items():
        with_cost("stage", work, 0.0)(output=run / name, **options)
    found = records(run)
    assert set(found) == {"works.tsv", "waits.tsv"}
    assert {row["command"] for row in found.values()} == {"stage"}
    rows = {name: {column: float(row[column]) for column in NUMBERS} for name, row in found.items()}
    for row in rows.values():
        assert 0.3 <= row["seconds"] < 60
        assert row["max_rss_mb"] > 10
    used = {name: row["cpu_seconds"] - row["start_up_seconds"] for name, row in rows.items()}
    assert 0.29 < used["works.tsv"] < 1
    assert used["waits.tsv"] < 0.1


def test_cpu_time_of_processes_that_it_started_counts(run):
    def start(output: Path) -> None:
        if not (child := os.fork()):
            work(output, cpu=0.3)
            os._exit(0)
        os.waitpid(child, 0)

    with_cost("stage", start, 0.0)(output=run / "started")
    (row,) = records(run).values()
    assert float(row["cpu_seconds"]) - float(row["start_up_seconds"]) > 0.29


def test_the_time_of_the_client_is_part_of_the_start(run):
    began = time.process_time()
    with_cost("stage", work, 100.0)(output=run / "here")
    (row,) = records(run).values()
    assert 100 <= began + 100 - 0.1 < float(row["start_up_seconds"]) <= float(row["cpu_seconds"]) < 1000


def test_what_is_no_output_of_a_run_leaves_no_record(run, tmp_path, monkeypatch):
    with_cost("stage", work, 0.0)(output=tmp_path / "elsewhere")
    monkeypatch.setenv("RANK", "1")
    with_cost("stage", work, 0.0)(output=run / "second")
    monkeypatch.delenv("RANK")
    with pytest.raises(OSError, match="no-such-folder"):
        with_cost("stage", work, 0.0)(output=run / "no-such-folder" / "failed")
    monkeypatch.delenv(RUN)
    with_cost("stage", work, 0.0)(output=run / "unnamed")
    assert records(run) == {}


def test_the_sum_is_over_records_of_this_run(run):
    folder = run / "benchmarks" / "data"
    folder.mkdir(parents=True)
    for name, cpu, age in (("a", 3, 0), ("b", 5, 0), ("old", 100, 1000)):
        path = folder / f"{name}.tsv"
        path.write_text("\t".join(("command", *NUMBERS)) + f"\nstage\t9\t{cpu}\t1\t10\n")
        os.utime(path, (time.time() - age,) * 2)
    assert spent(run, time.time() - 100) == (8, 2)

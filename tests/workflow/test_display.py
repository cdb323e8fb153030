"""`make run` shows a line a stage, failures with their logs, and what came out; plain snakemake stays as it is."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from tests.pipeline import snakemake

DISPLAY = ("--logger", "cortex")


@pytest.fixture
def run(tiny_run, tmp_path):
    """A copy of the tiny run, of which two levels are to be made again."""
    folder = shutil.copytree(tiny_run, tmp_path / "run", symlinks=True)
    for level in ("image_level", "concept_level"):
        (folder / "results" / "tiny" / "metrics" / f"{level}.parquet").unlink()
    return folder


def findings(run):
    return [f"- {line}" for line in (run / "results" / "tiny" / "findings.txt").read_text().splitlines()]


def test_a_run_in_lines(run):
    done = snakemake(run, *DISPLAY)
    assert done.returncode == 0
    first, *lines = done.stderr.splitlines()
    assert first.startswith("Using workflow specific profile")
    assert all(re.match(r"\d+:\d\d  ", line) for line in lines)
    texts = [line.partition("  ")[2] for line in lines]
    planned, jobs, *texts = texts
    assert planned == "Planning the jobs"
    evaluate, report = map(int, re.fullmatch(r"jobs: evaluate (\d+), report (\d+)", jobs).groups())
    assert evaluate == 2 and report > 4  # the two levels; and what shows them
    *stages, end = texts[: texts.index(findings(run)[0])]
    ended = [text for text in stages if " in " in text]
    assert [text.partition(" in ")[0] for text in ended] == ["evaluate: 2 of 2", f"report: {report} of {report}"]
    assert re.fullmatch(r"Done in \d+:\d\d\. Jobs used \d+:\d\d of processor time, \d+% of it to start Python\.", end)
    assert texts[-4:] == [*findings(run), "Page: results/tiny/report.html"]
    assert len(findings(run)) == 3


def test_a_second_run_names_the_page(tiny_run):
    done = snakemake(tiny_run, *DISPLAY)
    texts = [line.partition("  ")[2] for line in done.stderr.splitlines()[1:]]
    ends = ["Nothing to do: all results are up to date.", *findings(tiny_run), "Page: results/tiny/report.html"]
    assert texts == ["Planning the jobs", *ends]


def test_a_failure(run):
    damaged = "results/tiny/evaluation/image_level/tis/cnn/0/vit/000000.parquet"
    (run / damaged).write_bytes((run / damaged).read_bytes()[:100])
    done = snakemake(run, *DISPLAY, "--keep-going")
    assert done.returncode != 0
    texts = [line.partition("  ")[2].strip() or line for line in done.stderr.splitlines()]
    place = texts.index("failed: metrics_table (results/tiny/metrics/image_level.parquet)")
    assert damaged in texts[place + 1] and texts[place + 1].startswith("cortex metrics: error: ")
    log = texts[place + 2].removeprefix("log: ")
    assert (run / log).read_text().splitlines()[-1] == texts[place + 1]
    assert re.fullmatch(r"Stopped after \d+:\d\d: \d+ of \d+ jobs done, 2 failed\.", texts[-2]), "and the comparisons"
    assert texts[-1] == "The same command continues the run."
    assert "Traceback" not in done.stderr and "CalledProcessError" not in done.stderr


def test_a_run_on_a_terminal(run):
    """Of a terminal, the display draws over its own lines."""
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *DISPLAY, "--configfile", "tests/tiny.yaml"]
    process = subprocess.Popen(command, cwd=run, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 1 << 16):
            shown += part
    except OSError:  # nobody has the other end any more
        pass
    os.close(ours)
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert "━" in text and "2 of 2" in text
    assert text.rstrip().endswith("Page: results/tiny/report.html")


def test_plain_snakemake_is_as_it_was(tiny_run):
    """What the workflow states for the display leaves no trace."""
    done = snakemake(tiny_run)
    lines = done.stderr.splitlines()
    assert lines[-1].startswith("Nothing to be done")
    place = lines.index("Building DAG of jobs...")
    assert lines[place - 1] == "" and lines[place - 2].strip().startswith("Config MD5"), "the header's own empty line"

"""What the display shows of Snakemake's log, as lines and on a terminal."""

import contextlib
import io
import logging
import os
import subprocess
import sys

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

import snakemake_logger_plugin_cortex as plugin
from snakemake_logger_plugin_cortex.progress import Progress
from snakemake_logger_plugin_cortex.views import Lines, Terminal
from tests.pipeline import CHECKOUT

STAGES = {"draw": "generate", "train": "train"}


class TestTheInterface(TestLogHandlerBase):
    """The tests that Snakemake has for every plugin."""

    __test__ = True

    def get_log_handler_cls(self):
        return plugin.LogHandler

    def get_log_handler_settings(self):
        return None


class Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_line_comes_at_the_end_of_a_stage_and_every_ten_seconds(clock):
    stream, progress = io.StringIO(), Progress(STAGES, {"draw": 2, "train": 2})
    view = Lines(stream, clock)
    view.start(progress)
    for second, job, rule in ((1, 0, "draw"), (2, 1, "train"), (3, 2, "train")):
        clock.now = 100 + second
        progress.begin(job, rule, clock.now)
        view.changed(None)
    clock.now = 111
    progress.end(1, clock.now, done=True)
    view.changed(None)  # the first after ten seconds
    clock.now = 120
    progress.begin(3, "draw", clock.now)
    view.changed(None)
    clock.now = 121
    for job in (0, 3):
        progress.end(job, clock.now, done=True)
    view.changed(progress.stages[0])
    assert stream.getvalue().splitlines() == [
        "0:00  jobs: generate 2, train 2",
        "0:11  generate: 0 of 2; train: 1 of 2, about 0:01 left",
        "0:21  generate: 2 of 2 in 0:20",
    ]


def test_a_line_names_the_stages_whose_jobs_wait_for_a_core(clock):
    """One job runs at a time, and a line is written between two jobs."""
    stream, progress = io.StringIO(), Progress(STAGES, {"draw": 2, "train": 2})
    view = Lines(stream, clock)
    view.start(progress)
    progress.begin(0, "draw", 100)
    clock.now = 115
    progress.end(0, clock.now, done=True)
    view.changed(None)
    assert stream.getvalue().splitlines()[1:] == ["0:15  generate: 1 of 2"]


def test_a_terminal_shows_all_stages_in_place_and_what_is_said_above():
    progress = Progress(STAGES, {"draw": 2, "train": 1})
    ours, theirs = os.openpty()
    with open(theirs, "w") as stream:
        assert stream.isatty()
        view = Terminal(stream)
        view.start(progress)
        progress.begin(0, "draw", 0)
        progress.end(0, 1, done=True)
        view.say("[bold]not markup[/bold]")
        view.stop()
    shown = b""
    with contextlib.suppress(OSError):  # Linux's end of a terminal that nobody has open
        while part := os.read(ours, 1 << 16):
            shown += part
    os.close(ours)
    shown = shown.decode()
    assert "[bold]not markup[/bold]" in shown
    last = shown.rpartition("generate")[2]
    assert "1 of 2" in last and "train" in last and "0 of 1" in last
    assert "\x1b[" in shown, "the table is drawn over itself"


# --- Snakemake's records -----------------------------------------------------------------------------------------


class Log:
    """A handler without a terminal, and a way to log to it."""

    def __init__(self, stream, *, dryrun=False):
        common = MockOutputSettings()
        common.dryrun = dryrun
        with contextlib.redirect_stderr(stream):
            self.handler, self.stream = plugin.LogHandler(common, None), stream

    def __call__(self, message="", level=logging.INFO, **extra):
        record = logging.LogRecord("snakemake", level, "", 0, message, (), None)
        vars(record).update(extra)
        self.handler.handle(record)

    def lines(self):
        """What was shown, without the times."""
        return [line.partition("  ")[2] for line in self.stream.getvalue().splitlines()]

    def start(self, *jobs, **counts):
        """A run of jobs, of which these have begun."""
        self("Workflow has started!", event=LogEvent.WORKFLOW_STARTED)
        self("Building DAG of jobs...")
        self("", cortex={"stages": STAGES, "page": "results/a/report.html", "findings": "findings.txt"})
        stats = counts | {"all": 1, "total": sum(counts.values()) + 1}
        self("Job stats: …", event=LogEvent.RUN_INFO, stats=stats)
        for number, rule in enumerate(jobs):
            self(f"rule {rule}", event=LogEvent.JOB_INFO, jobid=number, rule_name=rule)

    def finish(self, *jobs):
        for job in jobs:
            self("Finished …", event=LogEvent.JOB_FINISHED, job_id=job)


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "findings.txt").write_text("One is more than two.\nNothing else.\n")
    return Log(io.StringIO())


def test_a_run_ends_with_its_time_its_findings_and_its_page(log):
    log.start("draw", "train", draw=1, train=1)
    log.finish(0, 1, 2)
    log("", cortex={"cpu": (754.0, 37.7)})
    log.handler.close()
    log.handler.close()  # Python's logging closes handlers once more
    assert log.lines() == [
        "Planning the jobs",
        "jobs: generate 1, train 1",
        "generate: 1 of 1 in 0:00",
        "train: 1 of 1 in 0:00",
        "Done in 0:00. Jobs used 12:34 of processor time, 5% of it to start Python.",
        "- One is more than two.",
        "- Nothing else.",
        "Page: results/a/report.html",
    ]


def test_a_failure_is_told_with_the_end_of_its_log_and_its_place(log, tmp_path):
    (tmp_path / "draw.log").write_text("reading\ncortex draw: error: a.tar: damaged\n")
    log.start("draw", "train", draw=1, train=1)
    said = {"rule_name": "draw", "jobid": 0, "output": ["a.tar"], "log": ["draw.log"]}
    log("Error in rule draw", logging.ERROR, event=LogEvent.JOB_ERROR, **said)
    log("Command 'set -euo' returned …", logging.ERROR, event=LogEvent.ERROR, exception="RuleException")
    log.finish(1)
    log("Exiting because a job execution failed. Look above for error messages", logging.ERROR)
    log(
        "At least one job did not complete successfully.",
        logging.ERROR,
        event=LogEvent.ERROR,
        exception="WorkflowError",
    )
    log.handler.close()
    assert log.lines()[2:] == [
        "failed: draw (a.tar)",
        "cortex draw: error: a.tar: damaged",
        "log: draw.log",
        "train: 1 of 1 in 0:00",
        "Stopped after 0:00: 1 of 3 jobs done, 1 failed.",
        "The same command continues the run.",
    ]


def test_what_stops_snakemake_is_told(log):
    log("config: seed = -1: should be 0 or more", logging.ERROR, event=LogEvent.ERROR, exception="WorkflowError")
    log("No space for logs", logging.WARNING)
    log("Select jobs to execute...")
    log.handler.close()
    assert log.lines() == ["config: seed = -1: should be 0 or more", "No space for logs"]


def test_nothing_to_do(log):
    log("", cortex={"stages": STAGES, "page": "results/a/report.html", "findings": "findings.txt"})
    log("Nothing to be done (all requested files are present and up to date).")
    log.handler.close()
    assert log.lines() == [
        "Nothing to do: all results are up to date.",
        "- One is more than two.",
        "- Nothing else.",
        "Page: results/a/report.html",
    ]


def test_a_run_without_a_page_names_none(log, tmp_path):
    (tmp_path / "findings.txt").unlink()
    log.start(draw=1)
    log.finish(0, 1)
    log.handler.close()
    assert log.lines()[-1] == "Done in 0:00."


def test_a_dry_run_shows_the_number_of_jobs():
    log = Log(io.StringIO(), dryrun=True)
    log.start("draw", draw=1, train=3)
    log("Job stats: …", event=LogEvent.RUN_INFO, stats={"draw": 1, "train": 3, "all": 1, "total": 5})
    log.handler.close()
    assert log.lines() == ["Planning the jobs", "jobs: generate 1, train 3"]


MODULES = """
import sys, snakemake_logger_plugin_cortex
print({name.partition(".")[0] for name in sys.modules} & {"cortex", "rich", "torch"})
"""


def test_the_plugin_leaves_the_package_to_the_snakefile():
    """Snakemake imports its plugins before the Snakefile, which may be of another checkout."""
    done = subprocess.run([sys.executable, "-c", MODULES], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"

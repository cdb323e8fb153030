"""Snakemake's display with ``--logger cortex``: a line a stage, failures with their logs, and what came out.

Snakemake imports this module whenever it starts, so it imports nothing of the package cortex: the Snakefile that
Snakemake then reads may be of another checkout. What the display has to know, the Snakefile states in a log record
(:data:`STATED`).
"""

import contextlib
import logging
import sys
import time
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_cortex.executors import check_executor
from snakemake_logger_plugin_cortex.progress import Progress, minutes
from snakemake_logger_plugin_cortex.views import Lines, Terminal, View

# Attribute of a record with what the workflow states: ``stages`` (the stage of every rule), ``page`` and ``findings``
# (files), and after success ``cpu`` (CPU seconds of all jobs, and of their start).
STATED = "cortex"
NOTHING = "Nothing to be done"
# What Snakemake adds to a job's failure, which is told already.
REPEATED = ("At least one job did not complete", "Exiting because a job execution failed")

check_executor()


class LogHandler(LogHandlerBase):
    """Shows what Snakemake logs."""

    def __post_init__(self) -> None:
        self._stated: dict[str, Any] = {}
        self._began = time.monotonic()
        self._progress: Progress | None = None
        self._all = self._done = self._failed = 0
        self._up_to_date = self._told = False
        stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self._view: View = Terminal(stream) if stream.isatty() else Lines(stream)

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, if it tells what a user has to know."""
        try:
            self._show(record, vars(record))
        except Exception:
            self.handleError(record)

    def _show(self, record: logging.LogRecord, said: dict[str, Any]) -> None:
        now = time.monotonic()
        self._stated |= said.get(STATED, {})
        match said.get("event"):
            case LogEvent.WORKFLOW_STARTED:
                self._view.say("Planning the jobs")
            case LogEvent.RUN_INFO if self._progress is None:
                self._all = said["stats"]["total"]
                self._progress = Progress(self._stated.get("stages", {}), said["stats"])
                self._view.start(self._progress)
            case LogEvent.JOB_INFO if self._progress is not None and not self.common_settings.dryrun:
                self._progress.begin(said["jobid"], said["rule_name"], now)
                self._view.changed(None)
            case LogEvent.JOB_FINISHED if self._progress is not None:
                self._done += 1
                stage = self._progress.end(said["job_id"], now, done=True)
                self._view.changed(stage if stage is not None and stage.ended is not None else None)
            case LogEvent.JOB_ERROR:
                self._fail(said, now)
            case LogEvent.ERROR if said["exception"] != "RuleException" and not record.msg.startswith(REPEATED):
                self._view.say(record.msg)
            case None if record.levelno >= logging.WARNING and not record.msg.startswith(REPEATED):
                self._view.say(record.msg)
            case None:
                self._up_to_date |= str(record.msg).startswith(NOTHING)

    def _fail(self, said: dict[str, Any], now: float) -> None:
        """Tell of a job that failed: its rule and output, the last line of its log, and where that is."""
        self._failed += 1
        if self._progress is not None:
            self._progress.end(said["jobid"], now, done=False)
        lines = [f"failed: {said['rule_name']} ({', '.join(said['output'])})"]
        for log in said["log"]:
            with contextlib.suppress(OSError, UnicodeDecodeError):
                lines += [f"  {line}" for line in Path(log).read_text(encoding="utf-8").splitlines()[-1:]]
            lines.append(f"  log: {log}")
        self._view.say("\n".join(lines))

    def close(self) -> None:
        """Tell how the run ended."""
        super().close()
        if self._told:
            return
        self._told = True
        self._view.stop()
        if self.common_settings.dryrun:
            return
        if self._up_to_date:
            self._view.say("Nothing to do: all results are up to date.")
            self._conclude()
        elif self._progress is not None and self._done < self._all:
            passed, failed = minutes(time.monotonic() - self._began), f", {self._failed} failed" * bool(self._failed)
            self._view.say(f"Stopped after {passed}: {self._done} of {self._all} jobs done{failed}.")
            self._view.say("The same command continues the run.")
        elif self._progress is not None:
            self._view.say(f"Done in {minutes(time.monotonic() - self._began)}.{self._time_spent()}")
            self._conclude()

    def _time_spent(self) -> str:
        if "cpu" not in self._stated or not self._stated["cpu"][0]:
            return ""
        cpu, start_up = self._stated["cpu"]
        return f" Jobs used {minutes(cpu)} of processor time, {start_up / cpu:.0%} of it to start Python."

    def _conclude(self) -> None:
        """What came out: the findings, and the page."""
        with contextlib.suppress(KeyError, OSError):
            for line in Path(self._stated["findings"]).read_text(encoding="utf-8").splitlines():
                self._view.say(f"- {line}")
            self._view.say(f"Page: {self._stated['page']}")

    @property
    def writes_to_stream(self) -> bool:
        """It takes the place of Snakemake's own display."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's log file stays as it is."""
        return False

    @property
    def has_filter(self) -> bool:
        """It chooses itself what to show."""
        return True

    @property
    def has_formatter(self) -> bool:
        """It words itself what it shows."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """It shows no graph."""
        return False

"""What a command cost, as it measures itself: a file in ``benchmarks/`` of the run's folder for every output.

Snakemake's own benchmarks follow the process that it started, which is not the one that works where there is a job
server, and sample: of a short job, they have no CPU time.
"""

import csv
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

from cortex.core.files import files_below, whole_file

RUN = "CORTEX_RUN_FOLDER"  # the run's folder, in the environment of its jobs
JOB_SERVER = "job_server"  # the record that is of no job
COLUMNS = ("command", "seconds", "cpu_seconds", "start_up_seconds", "max_rss_mb")


def with_cost(command: str, function: Callable[..., None], cpu_before: float) -> Callable[..., None]:
    """A command's function, which then puts its cost on record if it belongs to a run.

    Args:
        command: its name.
        function: that of its work; its parameter ``output`` names the record.
        cpu_before: CPU time that another process spent on starting this one, in seconds.
    """

    @wraps(function)
    def run(**values: Any) -> None:
        began, start_up = time.perf_counter(), _cpu_seconds() + cpu_before
        function(**values)
        seconds, folder, output = time.perf_counter() - began, os.environ.get(RUN), values.get("output")
        # Of processes that share a training, the first writes.
        if folder and output and os.environ.get("RANK", "0") == "0" and Path(output).is_relative_to(folder):
            name = str(Path(output).relative_to(folder))
            write(Path(folder), name, command, seconds, _cpu_seconds() + cpu_before, start_up)

    return run


def write(run: Path, name: str, command: str, seconds: float, cpu: float, start_up: float) -> None:
    """Write a record: wall time of the work, CPU time of all, of it that of the start, and the largest memory."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    numbers = (f"{number:.3f}" for number in (seconds, cpu, start_up, memory))
    # The output is there: a full disk takes only its record.
    with suppress(OSError), whole_file(run / "benchmarks" / f"{name}.tsv") as temporary:
        temporary.write_text("\t".join(COLUMNS) + "\n" + "\t".join([command, *numbers]) + "\n", encoding="utf-8")


def written_files(run: Path) -> Iterator[Path]:
    """The outputs of the jobs on record, there or not."""
    folder = run / "benchmarks"
    for path in files_below(folder) if folder.is_dir() else ():
        if path.suffix == ".tsv" and path != folder / f"{JOB_SERVER}.tsv":
            yield run / path.relative_to(folder).with_suffix("")


def spent(run: Path, since: float) -> tuple[float, float]:
    """CPU time of a run's commands since a time of the clock, and that of their start, in seconds."""
    cpu = start_up = 0.0
    folder = run / "benchmarks"
    for path in files_below(folder) if folder.is_dir() else ():
        if path.suffix == ".tsv" and path.stat().st_mtime >= since:
            for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"):
                cpu += float(row["cpu_seconds"])
                start_up += float(row["start_up_seconds"])
    return cpu, start_up


def _cpu_seconds() -> float:
    """CPU time of this process and of those that it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)

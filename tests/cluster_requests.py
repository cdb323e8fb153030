"""Requests of the default run's jobs on a cluster, as a table: python -m tests.cluster_requests prints it.

Nothing is computed: Snakemake plans the run, and the rules are asked what their jobs request for inputs of some sizes.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.logging import logger
from snakemake.settings.types import ConfigSettings, DAGSettings, ExecutionSettings, OutputSettings, ResourceSettings

from tests.pipeline import CHECKOUT

LARGE = 1000.0  # MB of an input file


def requested(job: Any, resource: str) -> str:
    """A resource of a job's first attempt in words: for empty inputs, and more for every MB of them."""

    def of_sizes(*sizes: float) -> int:
        given = SimpleNamespace(size_files_mb=sizes)
        found: int = job.rule.resources[resource].evaluate(job.wildcards, input=given, attempt=1).value
        return found

    base = of_sizes(0)
    more = (of_sizes(LARGE) - base) / LARGE
    if not more:
        return f"{base:,}"
    of_all = of_sizes(LARGE, LARGE) - base > 1.5 * LARGE * more
    return f"{base:,} + {more:.3g} a MB of {'the input' if of_all else 'the largest file'}"


@contextmanager
def planned_jobs(config: Path, target: str) -> Iterator[list[Any]]:
    """All jobs of a target, as Snakemake plans them in this folder."""
    with SnakemakeApi(OutputSettings(dryrun=True)) as api:
        for handler in logger.handlers:
            handler.setLevel(logging.WARNING)
        planned = api.workflow(
            ResourceSettings(cores=1), ConfigSettings(configfiles=[config]), snakefile=CHECKOUT / "Snakefile"
        )
        planned.dag(DAGSettings(targets={target}, forceall=True)).execute_workflow(
            "dryrun", execution_settings=ExecutionSettings(lock=False, ignore_incomplete=True)
        )
        yield sorted(planned._workflow.dag.jobs, key=lambda job: (job.rule.name, str(job.wildcards)))


def requests(config: Path, target: str = "full") -> dict[str, tuple[str, str]]:
    """Memory and time that the rules of a target request, by rule; of rules whose jobs differ, of the first one."""
    with planned_jobs(config, target) as jobs:
        of_rule = {job.rule.name: job for job in reversed(jobs) if "mem_mb" in job.rule.resources}
        return {name: (requested(job, "mem_mb"), requested(job, "runtime")) for name, job in of_rule.items()}


def lines(found: dict[str, tuple[str, str]]) -> Iterator[str]:
    """The table: rules with equal requests share a line."""
    yield "| rules | memory, MB | time, minutes |"
    yield "| --- | --- | --- |"
    alike: dict[tuple[str, str], list[str]] = {}
    for name, request in sorted(found.items()):
        alike.setdefault(request, []).append(f"`{name}`")
    for (memory, time), names in sorted(alike.items(), key=lambda item: item[1]):
        yield f"| {', '.join(names)} | {memory} | {time} |"


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # where no run is
        found = requests(CHECKOUT / "config.yaml")
        os.chdir(CHECKOUT)
    print("\n".join(lines(found)))


if __name__ == "__main__":
    main()

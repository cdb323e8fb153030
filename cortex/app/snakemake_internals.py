"""All that depends on how Snakemake works inside, guarded by what this release of it has.

The jobs that a config's run has (:func:`planned_jobs`, by Snakemake's Python API and log events, in a process of its
own), the record that a cluster's job keeps of itself (:func:`keep_records_in_jobs`), and settings of the Snakemake that
reads the rules.
"""

import json
import logging
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cortex.core.errors import InputError


@dataclass(frozen=True)
class Job:
    """One job of a run: its rule and its wildcards by name."""

    rule: str
    wildcards: Mapping[str, str]


def planned_jobs(config: Path, target: str) -> list[Job]:
    """All jobs that a target of a config's run needs, done or not, in the order in which they could run.

    Raises:
        InputError: there is no workflow, or Snakemake refuses it; in its words.
    """
    candidates = [Path("Snakefile"), Path(__file__).parents[2] / "Snakefile"]
    snakefile = next((path for path in candidates if path.is_file()), None)
    if snakefile is None:
        raise InputError(f"{candidates[0].resolve()}: no such file; cortex plan runs in a checkout of the workflow")
    command = [sys.executable, "-m", __name__, str(snakefile), str(config), target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise InputError(f"{snakefile}: Snakemake plans no jobs: {said}")
    return [Job(*json.loads(line)) for line in done.stdout.splitlines()]


def keep_records_in_jobs(workflow: Any) -> None:
    """Let a cluster's job put on record by itself what made its outputs.

    Snakemake leaves this to the main process. That may have been killed when the job ends; the outputs' record is then
    older than they are, and they are made again.
    """
    from snakemake import persistence

    if not workflow.remote_exec:
        return
    if not hasattr(persistence, "ExecMode"):
        logging.getLogger(__name__).warning(
            "This Snakemake keeps records in another way than 9.27: after an interruption of the main process, jobs "
            "that ended meanwhile may run again."
        )
        return
    persistence.ExecMode = SimpleNamespace(DEFAULT=workflow.exec_mode)


def run_jobs_here(workflow: Any) -> bool:
    """Whether jobs run on this machine and by this Python: not on a cluster, in a conda environment or a container."""
    return bool(workflow.local_exec and not workflow.deployment_settings.deployment_method)


def is_target(workflow: Any, name: str) -> bool:
    """Whether a rule was named on Snakemake's command line. Targets are known once all rules are."""
    return name in workflow.dag_settings.targets


class _Printed(logging.Handler):
    """Prints every job that Snakemake logs, as one line of JSON."""

    def emit(self, record: logging.LogRecord) -> None:
        logged = vars(record)
        if logged.get("event") == "job_info" and logged["output"]:  # targets alone, as all, have no output
            print(json.dumps([logged["rule_name"], logged["wildcards"]]))


def _print_jobs(snakefile: Path, config: Path, target: str) -> bool:
    """Print the jobs of a dry run of all that a target needs; whether there was one."""
    try:
        from snakemake.api import SnakemakeApi
        from snakemake.logging import logger
        from snakemake.settings.types import (
            ConfigSettings,
            DAGSettings,
            ExecutionSettings,
            OutputSettings,
            ResourceSettings,
        )
    except ImportError as error:
        print(f"its API is another than that of Snakemake 9.27: {error}", file=sys.stderr)
        return False
    with SnakemakeApi(OutputSettings(dryrun=True)) as api:
        for handler in logger.handlers:
            handler.setLevel(logging.WARNING)
        logger.addHandler(_Printed())
        try:
            workflow = api.workflow(
                ResourceSettings(cores=1), ConfigSettings(configfiles=[config]), snakefile=snakefile
            )
            # Everything is forced: a plan does not depend on files that are there already.
            workflow.dag(DAGSettings(targets={target}, forceall=True)).execute_workflow(
                "dryrun", execution_settings=ExecutionSettings(lock=False, ignore_incomplete=True)
            )
        except Exception as error:
            api.print_exception(error)
            return False
    return True


if __name__ == "__main__":
    sys.exit(not _print_jobs(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))

"""Run the workflow from anywhere: that of this checkout, or the one that came with the installed package."""

import os
import sys
import sysconfig
from pathlib import Path
from typing import Annotated

import tyro

import cortex
from cortex.core.errors import InputError

SHARED = "share/cortex-tokens"  # where the wheel puts Snakefile, rules, profiles and configs, below the environment


def run_workflow(
    targets: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    *,
    config: Path | None = None,
    cores: str = "all",
    dry_run: bool = False,
) -> None:
    """Run the pipeline in the working directory; results go to results/ there.

    The command is Snakemake with the package's Snakefile; its exit status is Snakemake's.

    Args:
        targets: rules or files to make, such as full, or results/mine/report.html; the paper's method if not given.
        config: config file; config.yaml of the working directory or else of the package if not given.
        cores: number of cores, or all.
        dry_run: show the jobs, and run nothing.

    Raises:
        InputError: there is no workflow or config.
    """
    folder = workflow_folder()
    chosen = config or next((path for path in (Path("config.yaml"), folder / "config.yaml") if path.is_file()), None)
    if chosen is None or not chosen.is_file():
        raise InputError(f"{chosen or 'config.yaml'}: no such config file")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(folder / "Snakefile"), "--cores", cores]
    command += ["--workflow-profile", str(folder / "profiles" / "default"), "--configfile", str(chosen)]
    command += ["--dry-run"] if dry_run else ["--logger", "cortex"]
    # In place of this process: signals and the exit status are Snakemake's own.
    os.execv(sys.executable, [*command, "--", *targets] if targets else command)


def workflow_folder() -> Path:
    """The folder of the Snakefile: the checkout that this package is imported from, or the environment's.

    Raises:
        InputError: neither has one.
    """
    checkout, installed = Path(cortex.__file__).parents[1], Path(sysconfig.get_path("data")) / SHARED
    for folder in (checkout, installed):
        if (folder / "Snakefile").is_file():
            return folder
    raise InputError(f"no Snakefile in {checkout} and {installed}: install the package from its wheel or checkout")

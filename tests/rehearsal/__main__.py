"""Rehearse the paper's numbers of images: python -m tests.rehearsal.

Three runs, with 100 times fewer images than the paper's, with 10 times fewer, and with all. Each is a Snakemake run in
a folder of its own: after an interruption, the same command goes on. Then a table of every command's jobs, CPU time and
memory is printed, as Markdown. Times are those that the jobs measured of themselves (the folder benchmarks of a run).
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import yaml

from tests.pipeline import CHECKOUT
from tests.rehearsal.table import Scale, as_markdown, read_scale

SPLITS = ("train", "validation", "test")


def write_config(folder: Path, fewer: int) -> int:
    """The config of a run with so many times fewer images, in its folder; how many images the run has."""
    settings = yaml.safe_load((Path(__file__).parent / "config.yaml").read_text())
    per_class = {split: max(1, settings["data"]["per_class"][split] // fewer) for split in SPLITS}
    settings["data"]["per_class"] = per_class
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return 1000 * sum(per_class.values())


def snakemake(folder: Path, *arguments: str) -> float:
    """Run the workflow in a folder; the CPU time that it took, in seconds. An error ends the program."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(CHECKOUT / "Snakefile"), "--cores", "2"]
    command += ["--directory", str(folder), "--configfile", str(folder / "config.yaml"), "--quiet", "progress", "rules"]
    path = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]
    before = _children()
    with (folder / "snakemake.log").open("a") as log:
        done = subprocess.run(
            [*command, "--workflow-profile", str(CHECKOUT / "profiles" / "default"), *arguments],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path)}, stdout=log, stderr=log, check=False,
        )  # fmt: skip
    if done.returncode:
        sys.exit(f"{folder}: exit status {done.returncode}: see snakemake.log there")
    return _children() - before


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def rehearse(folder: Path, fewer: int) -> Scale:
    """Do a run, or go on with it, and read what it cost."""
    run = folder.absolute() / str(fewer)
    images, planning = write_config(run, fewer), run / "planning.json"
    if not planning.is_file():
        planning.write_text(json.dumps(snakemake(run, "--dry-run")))
    snakemake(run)
    return read_scale(run / "results" / "rehearsal" / "benchmarks", images, json.loads(planning.read_text()))


def main() -> None:
    """Do the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("results/rehearsal"), help="folder of the runs")
    parser.add_argument(
        "--fewer", type=int, nargs="+", default=[100, 10, 1], help="times fewer images than the paper's"
    )
    options = parser.parse_args()
    scales = []
    for fewer in sorted(options.fewer, reverse=True):
        scales.append(rehearse(options.folder, fewer))
        print(as_markdown(scales), flush=True)


if __name__ == "__main__":
    main()

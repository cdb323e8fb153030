"""Run the workflow for real, as a user would, in a checkout of the test's own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from safetensors.numpy import load_file

from tests.started import run_module

CHECKOUT = Path(__file__).parent.parent
CORES = max(1, 2 // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))  # of one Snakemake: two of all of them


def copy_checkout(folder: Path) -> Path:
    """A copy of what the workflow needs of this checkout, in a new folder."""
    for name in ("Snakefile", "rules", "profiles", "cortex", "envs", "config.yaml"):
        source = CHECKOUT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, folder / name)
    (folder / "tests").mkdir()
    shutil.copy2(CHECKOUT / "tests" / "tiny.yaml", folder / "tests")
    return folder


def snakemake(
    folder: Path, *arguments: str, cores: int = CORES, record_calls: bool = False, modules: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """``snakemake`` in a checkout, its environment not activated, with the tiny config unless they name another.

    With ``record_calls``, the folder ``calls`` says which functions each job called: see tests/recorder. The folders
    ``modules`` stand on ``PYTHONPATH``.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *map(str, arguments)]
    if "--configfile" not in arguments:
        command += ["--configfile", "tests/tiny.yaml"]
    path = [*map(str, modules), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PATH": os.defpath}
    if record_calls:
        path.insert(0, str(CHECKOUT / "tests" / "recorder"))
        environment["CORTEX_CALLS"] = str(folder / "calls")
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(path)
    if record_calls:  # what records them starts with Python
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
    return run_module("snakemake", command[3:], folder=folder, environment=environment, timeout=900)


def made(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """``snakemake`` as above, which has to succeed: its errors, and those of its jobs, are the test's."""
    done = snakemake(folder, *arguments, **options)
    logs = "\n".join(path.read_text() for path in folder.rglob("*.log") if "error" in path.read_text())
    assert done.returncode == 0, done.stderr + logs
    return done


def jobs_in(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many jobs of every rule Snakemake did, or would do in a dry run."""
    table = (done.stdout + done.stderr).rpartition("Job stats:")[2].partition("\n\n")[0]
    jobs = re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)
    return {rule: int(count) for rule, count in jobs if rule not in ("all", "full", "total")}


def data_of(results: Path) -> dict[str, Any]:
    """What a run computed, by file: the columns of tables but for the times they took, shards and grids byte for byte,
    weights number for number."""
    data: dict[str, Any] = {}
    for path in sorted(results.rglob("*")):
        name = str(path.relative_to(results))
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            data[name] = {column: table[column].to_pylist() for column in table.column_names if column != "seconds"}
        elif path.suffix in (".tar", ".npy"):
            data[name] = path.read_bytes()
        elif path.suffix == ".safetensors":
            data[name] = {weight: (w.dtype, w.shape, w.tobytes()) for weight, w in load_file(path).items()}
    return data


def change_config(path: Path, changes: dict[str, Any]) -> None:
    """Change values of a config file, section by section."""

    def merge(settings: dict[str, Any], changes: dict[str, Any]) -> None:
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(settings.get(key), dict):
                merge(settings[key], value)
            else:
                settings[key] = value

    settings = yaml.safe_load(path.read_text())
    merge(settings, changes)
    path.write_text(yaml.safe_dump(settings))

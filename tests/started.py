"""``python -m MODULE`` in a copy of a process that has imported the libraries that every module needs.

What it computes is the same: the copied process holds libraries alone, nothing of this package.
"""

import importlib
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LIBRARIES = [
    "snakemake.cli",
    "snakemake_executor_plugin_slurm",
    "pydantic",
    "pyarrow.parquet",
    "torch._dynamo",
    "tests.started",
]
# Where Python finds itself and what is installed, this checkout by its editable installation, without PYTHONPATH.
INSTALLED = [path for path in sys.path if path.startswith((sys.prefix, sys.base_prefix)) or not path.startswith("/")]
INSTALLED.append(str(Path(__file__).parent.parent))

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(LIBRARIES)


def run_module(
    module: str, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a module with arguments, in a folder and an environment; its exit status, and its output as text.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryDirectory() as place:
        files = Path(place, "output"), Path(place, "errors")
        process = _context.Process(target=_become, args=(command, str(folder), dict(environment), files))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(command, timeout)
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in files))


def _become(command: list[str], folder: str, environment: dict[str, str], files: tuple[Path, Path]) -> None:
    """Be what the command would start."""
    for number, path in enumerate((os.devnull, *files)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), *INSTALLED]
    for name in [name for name in sys.modules if name.split(".")[0] in ("cortex", "tests")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    sys.argv = command[2:]
    runpy.run_module(command[2], run_name="__main__", alter_sys=True)

"""The job server of a local run: one process that has imported torch and the stages, and forks a child for every job.

A job is ``python -m cortex COMMAND …``; to start Python and to import takes two seconds of it. With a server, that
process is its client (:mod:`cortex.app.job_client`): it sends arguments, environment and files, forwards signals, and
returns the child's exit status. The server does only what gives the same as a process of its own:

* code, folder, umask and environment have to be those with which it started, or the job runs in its own process;
* it has one thread, and has neither used CUDA nor started a pool of threads, which a fork would break;
* a child does not outlive its client or the server; the server ends with the run.

Its socket is in a folder that only this user can enter, and the kernel says which user a client is of.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import selectors
import shutil
import signal
import site
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cortex.app import job_cost
from cortex.app.job_client import ACCEPTED, FORWARDED, VARIABLE, situation

# What Snakemake's jobs have, all of them the number of their threads. Libraries read them when they are loaded, so the
# server has what most jobs have.
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
THREAD_VARIABLES = {f"{library}_NUM_THREADS": "1" for library in THREADS} | {"VECLIB_MAXIMUM_THREADS": "1"}
# Variables that may differ between the server and its jobs: nothing that is imported reads them. The last one is set by
# torch in the process that imports it, which may be Snakemake's.
FREE = {VARIABLE, "_", "SHLVL", "PWD", "OLDPWD", "TMPDIR", "TMP", "TEMP", "TEMPDIR", "TORCHINDUCTOR_CACHE_DIR"}
PR_SET_PDEATHSIG = 1
PATIENCE = 5.0  # seconds for a client to send its request, and for the server to end


# In Snakemake's process


class RunServer:
    """The job server of this process's run. It ends with :meth:`stop`, or with this process."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def start(self) -> None:
        """Start the server, and name it to the run's jobs. Where the system has no means for one, there is none."""
        if not sys.platform.startswith("linux") or not hasattr(os, "pidfd_open"):
            return
        self._folder = tempfile.mkdtemp(prefix="cortex-")
        address = f"{self._folder}/jobs"
        with socket.socket(socket.AF_UNIX) as listener:
            try:
                listener.bind(address)
            except OSError:  # the path is too long
                shutil.rmtree(self._folder)
                return
            listener.listen(128)  # clients can connect, and wait, while the server imports
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, self._folder, str(listener.fileno())],
                env=os.environ | THREAD_VARIABLES,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[listener.fileno()],
                start_new_session=True,  # the terminal's Ctrl-C reaches jobs through their clients
            )
        os.environ[VARIABLE] = address

    def stop(self) -> None:
        """Let the server end; jobs that still start do without it."""
        os.environ.pop(VARIABLE, None)
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            shutil.rmtree(self._folder, ignore_errors=True)


# The server


@dataclass
class Job:
    """A job that runs: the child, its end as a file, and its client."""

    child: int
    ended: int
    client: socket.socket


class JobServer:
    """Accepts requests until the run ends.

    Args:
        listener: the socket.
        run: file that ends with the run.
        code: state of the code that was imported.
        here: situation of the server.
    """

    def __init__(self, listener: socket.socket, run: int, code: list[Any], here: dict[str, Any]):
        self._listener, self._run, self._code, self._here = listener, run, code, _comparable(here)
        self._listening = True
        self._jobs: list[Job] = []
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        self._selector.register(run, selectors.EVENT_READ, self._stop)

    def next_request(self) -> dict[str, Any] | None:
        """In a child, the request that it is for; in the server, None when the run and its last job have ended."""
        while self._listening or self._jobs:
            for key, _ in self._selector.select():
                # One event may have closed the file of another.
                if key.fd in self._selector.get_map() and (request := key.data(key.fileobj)) is not None:
                    return request
        return None

    def _stop(self, _: Any = None) -> None:
        """Accept no more requests: their clients run them themselves."""
        if self._listening:
            self._listening = False
            self._selector.unregister(self._listener)
            self._selector.unregister(self._run)
            self._listener.close()

    def _accept(self, listener: socket.socket) -> dict[str, Any] | None:
        """Fork a child for the request of a client; in the child, the request."""
        client = listener.accept()[0]
        files: list[int] = []
        try:
            request = _received(client, files)
            if code_state() != self._code:
                self._stop()
            elif _comparable(request) == self._here:
                if not (child := os.fork()):
                    self._become_job(files)
                    return request
                self._watch(child, client)
                return None
        except (OSError, ValueError, LookupError, TypeError):
            pass  # no request, its client went away, or there is no memory for a child
        finally:
            for file in files:
                os.close(file)
        client.close()
        return None

    def _watch(self, child: int, client: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the child did it, or has ended
            os.setpgid(child, child)
        job = Job(child, os.pidfd_open(child), client)
        self._jobs.append(job)
        self._selector.register(job.ended, selectors.EVENT_READ, lambda _: self._end(job))
        self._selector.register(client, selectors.EVENT_READ, lambda _: self._hear(job))
        with contextlib.suppress(OSError):
            client.send(ACCEPTED)

    def _hear(self, job: Job) -> None:
        """Signals for the job, or the end of its client, which is its end."""
        try:
            numbers = job.client.recv(64)
        except OSError:
            numbers = b""
        for number in set(numbers) & set(FORWARDED):
            os.kill(job.child, number)
        if not numbers:
            self._selector.unregister(job.client)
            os.killpg(job.child, signal.SIGKILL)

    def _end(self, job: Job) -> None:
        """Tell the client how the job ended."""
        _, status = os.waitpid(job.child, 0)
        self._selector.unregister(job.ended)
        os.close(job.ended)
        with contextlib.suppress(KeyError):
            self._selector.unregister(job.client)
        with contextlib.suppress(OSError):
            job.client.send(str(os.waitstatus_to_exitcode(status)).encode())
        job.client.close()
        self._jobs.remove(job)

    def _become_job(self, files: list[int]) -> None:
        """In the child: end with the server, leave its files, and take those of the client."""
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setpgid(0, 0)
        for number, file in enumerate(files):
            os.dup2(file, number)
        self._selector.close()
        self._listener.close()
        for job in self._jobs:
            os.close(job.ended)
            job.client.close()


def _received(client: socket.socket, files: list[int]) -> dict[str, Any]:
    """A client's request; its standard input, output and error go to ``files``.

    Raises:
        ValueError: it is no request, or of another user.
    """
    user = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[1]
    if user != os.getuid():
        raise ValueError(f"a client of user {user}")
    client.settimeout(PATIENCE)
    message, received, _, _ = socket.recv_fds(client, 1 << 16, 3)
    files += received
    while len(message) < 4 + int.from_bytes(message[:4]):
        if not (part := client.recv(1 << 16)):
            raise ValueError("a request without its end")
        message += part
    client.settimeout(None)
    if len(files) != 3:
        raise ValueError("a request without files")
    request: dict[str, Any] = json.loads(message[4:])
    return request


def _comparable(of: dict[str, Any]) -> tuple[Any, ...]:
    """What has to be the same in the server and in a job."""
    variables = {name: value for name, value in of["environment"].items() if name not in FREE}
    return of["python"], of["package"], of["folder"], of["umask"], variables


def code_state() -> list[Any]:
    """The state of the code on the disk: this package's modules, and which packages are installed."""
    found: list[Any] = [os.stat(folder).st_mtime_ns for folder in site.getsitepackages() if os.path.isdir(folder)]
    folders = [str(Path(__file__).parents[1])]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.name.endswith(".py"):
                state = entry.stat()
                found.append((entry.path, state.st_ctime_ns, state.st_size))
    return sorted(found, key=str)


def _import_everything(run: int) -> None:
    """Import the package's modules, and with them what they import; leave off when the run ends."""
    importlib.import_module("tyro")
    for module in pkgutil.walk_packages(importlib.import_module("cortex").__path__, "cortex."):
        if select.select([run], [], [], 0)[0]:
            return
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    _import_late_parts()


def _import_late_parts() -> None:
    """Use what imports parts of itself at its first use, so that no job has to: that takes a training a second."""
    import torch
    import tyro
    from matplotlib.backends import backend_agg, backend_svg  # noqa: F401
    from PIL import Image

    tyro.cli(lambda: None, args=[])
    Image.preinit()
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.zeros(1)
    torch.optim.Adam([weight]).step()


class _Leave:
    """Ends a child after all that is called at exit: to take its modules apart would copy the memory that it shares."""

    status = 1  # of a command that raises an error

    def __call__(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(self.status)


def _run_job(request: dict[str, Any], leave: _Leave) -> None:
    """Run a child's command as a process of its own would."""
    os.environ.clear()
    os.environ.update(request["environment"])
    tempfile.tempdir = None
    importlib.invalidate_caches()
    sys.argv = [f"{request['package']}/__main__.py", *request["arguments"]]
    if os.isatty(1):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    from cortex.app.cli import main

    try:
        leave.status = main(cpu_before=request["cpu_seconds"])
    except SystemExit as error:
        leave.status = error.code if isinstance(error.code, int) else int(error.code is not None)
        raise
    except KeyboardInterrupt:
        leave.status = 128 + signal.SIGINT
        raise


def _serve(folder: str, listener: int, run: int = 0) -> None:
    """Serve until the run ends; in a child, run its command."""
    began, here, code = time.perf_counter(), situation(), code_state()
    leave = _Leave()
    atexit.register(leave)  # the first to be registered is the last to be called
    os.environ["JE_ARROW_MALLOC_CONF"] = "background_thread:false"  # Arrow's allocator would start a thread
    _import_everything(run)
    gc.collect()
    gc.freeze()  # a child's collections do not touch, and so copy, what it shares
    request = None
    if len(os.listdir("/proc/self/task")) == 1 and code_state() == code:
        request = JobServer(socket.socket(fileno=listener), run, code, here).next_request()
    if request is not None:
        _run_job(request, leave)
        return
    shutil.rmtree(folder, ignore_errors=True)
    if run_folder := here["environment"].get(job_cost.RUN):
        own = resource.getrusage(resource.RUSAGE_SELF)
        cpu = own.ru_utime + own.ru_stime
        job_cost.write(Path(run_folder), job_cost.JOB_SERVER, "job-server", time.perf_counter() - began, cpu, cpu)
    leave.status = 0


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))

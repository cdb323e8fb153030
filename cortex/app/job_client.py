"""Hand a command to the job server of a local run, if there is one; see :mod:`cortex.app.job_server`.

Every ``python -m cortex`` begins here, so this module imports nothing that takes time.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

VARIABLE = "CORTEX_JOB_SERVER"  # path of the server's socket, in the environment of the run's jobs
PATIENCE = 60.0  # seconds until a server that does not answer counts as none: it may still be importing
FORWARDED = (signal.SIGINT, signal.SIGTERM)
ACCEPTED = b"+"


def run_on_server(arguments: Sequence[str]) -> int | None:
    """Let the server run a command on this process's files; its exit status. None: run it here.

    A command that ended by a signal ends this process by the same signal.
    """
    address = os.environ.get(VARIABLE)
    if not address:
        return None
    with socket.socket(socket.AF_UNIX) as server:
        # A signal waits until it is known who has to have it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        try:
            if not _accepts(server, address, arguments):
                return None
            _forward_signals(server)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        status = _end_of(server)
    if status < 0:
        if -status in FORWARDED:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def situation() -> dict[str, Any]:
    """All that a command depends on beside its arguments and the files on the disk."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "python": sys.prefix,
        "package": os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
        "folder": os.getcwd(),
        "umask": umask,
        "environment": dict(os.environ),
    }


def _accepts(server: socket.socket, address: str, arguments: Sequence[str]) -> bool:
    """Whether the server answers, and begins with the command."""
    request = json.dumps({"arguments": list(arguments), "cpu_seconds": time.process_time(), **situation()}).encode()
    message = len(request).to_bytes(4) + request
    server.settimeout(PATIENCE)
    try:
        server.connect(address)
        sent = socket.send_fds(server, [message], [0, 1, 2])
        server.sendall(message[sent:])
        accepted = server.recv(1) == ACCEPTED
    except OSError:
        return False
    server.settimeout(None)
    return accepted


def _forward_signals(server: socket.socket) -> None:
    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            server.send(bytes([number]))

    for number in FORWARDED:
        signal.signal(number, forward)


def _end_of(server: socket.socket) -> int:
    """The command's exit status, below zero the signal that ended it."""
    said = b""
    with contextlib.suppress(OSError):
        while part := server.recv(16):
            said += part
    if not said:
        sys.exit("cortex: error: the job server was killed, and this job with it")
    return int(said)

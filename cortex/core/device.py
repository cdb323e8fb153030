"""Where to compute."""

import fcntl
import logging
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from cortex.core.errors import InputError

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda:1`` ... as a device; ``cuda`` is :func:`own_gpu`, and so is ``auto`` where there is a GPU.

    Raises:
        InputError: the name is no device of this machine.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device("cuda", own_gpu()) if name == "cuda" else torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}; allowed: auto, cpu, cuda, cuda:N") from None
    return device


@cache
def own_gpu() -> int:
    """The first GPU that no process of this package has taken; it is this process's until it ends.

    So jobs that run at the same time compute on GPUs of their own, and once all are taken, the next ones wait: two on
    one GPU could fill its memory.
    """
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    gpus = range(torch.cuda.device_count())
    waiting = False
    while True:
        for gpu in gpus:
            name = names[gpu] if gpu < len(names) and names[gpu] else gpu
            lock = os.open(Path(tempfile.gettempdir(), f"cortex-{os.getuid()}-gpu-{name}"), os.O_WRONLY | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                return gpu
        if not gpus:
            return 0
        if not waiting:
            log.info("waiting for a GPU: all %d are taken by other jobs", len(gpus))
            waiting = True
        time.sleep(1)


def place(network: Network, device: torch.device) -> Network:
    """The network on the device, channels last in memory: convolutions are faster so, on CPUs and GPUs."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: sums over threads depend on how many there are, and on small tensors threads only wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

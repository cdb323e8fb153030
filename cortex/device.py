"""Where to compute."""

import fcntl
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from cortex.errors import InputError

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
    """The first GPU that no process of this package has taken, and takes it until this process ends.

    So jobs that run at the same time compute on GPUs of their own. Once all are taken, they share the first.
    """
    names = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    for gpu in range(torch.cuda.device_count()):
        name = names[gpu] if gpu < len(names) and names[gpu] else gpu
        lock = os.open(Path(tempfile.gettempdir(), f"cortex-{os.getuid()}-gpu-{name}"), os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
        else:
            return gpu
    return 0


def place(network: Network, device: torch.device) -> Network:
    """The network on the device, channels last in memory: convolutions are faster so, on CPUs and GPUs."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

"""Where to compute."""

from typing import TypeVar

import torch
from torch import nn

from cortex.errors import InputError

Network = TypeVar("Network", bound=nn.Module)


def choose_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, ``cuda:1`` ... as a device; ``auto`` is the GPU where there is one.

    Raises:
        InputError: the name is no device of this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used: {reason}; allowed: auto, cpu, cuda, cuda:N") from None
    return device


def place(network: Network, device: torch.device) -> Network:
    """The network on the device, channels last in memory: convolutions are faster so, on CPUs and GPUs."""
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

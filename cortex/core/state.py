"""Where a long computation stands, kept in a file, so that an interrupted one goes on to the same result.

The file is safetensors: tensors, and the rest as JSON in its metadata. It names what the result depends on, and state
that belongs to anything else is never gone on from.
"""

import json
import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cortex.core.errors import InputError, reason_of
from cortex.core.weights import read_weights, write_weights

log = logging.getLogger(__name__)


def write_state(path: Path, identity: dict[str, Any], state: dict[str, Any]) -> None:
    """Write a state of numbers, text, lists, dictionaries and tensors, whole or not at all.

    Raises:
        TypeError: something else is in the state.
    """
    tensors: dict[str, Tensor] = {}

    def keep(value: object) -> dict[str, str]:
        if not isinstance(value, Tensor):
            raise TypeError(f"{value!r} cannot be kept")
        tensors[str(len(tensors))] = value
        return {"tensor": str(len(tensors) - 1)}

    text = json.dumps(state, default=keep)
    write_weights(path, tensors, {"identity": json.dumps(identity), "state": text})


def read_state(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The state at ``path``; None if there is no file, or if it is of a computation of another identity.

    Keys of dictionaries are text, as JSON has it.

    Raises:
        InputError: the state is this computation's, but damaged.
    """
    if not path.exists():
        return None
    try:
        tensors, metadata = read_weights(path)
        found = json.loads(metadata["identity"])
        names = identity.keys() | found.keys()
        wanted = json.loads(json.dumps(identity))
        others = sorted(name for name in names if wanted.get(name) != found.get(name))
    except (InputError, ValueError, LookupError, AttributeError) as error:
        log.info("%s is no training's state, and the training starts anew: %s", path, error)
        return None
    if others:
        log.info("%s belongs to a training that differs in %s; this one starts anew", path, ", ".join(others))
        return None
    try:
        state: dict[str, Any] = json.loads(
            metadata["state"], object_hook=lambda part: tensors[part["tensor"]] if part.keys() == {"tensor"} else part
        )
    except (ValueError, TypeError, LookupError) as error:
        raise damaged(path, error) from None
    return state


def damaged(path: Path, error: Exception) -> InputError:
    """The error to raise where a state cannot be restored."""
    return InputError(f"{path}: damaged; delete it, and the training starts anew: {reason_of(repr(error))}")


def restore_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state as :func:`read_state` gives it.

    Moments lie in memory as their weights do, channels last: another order would add up in another order.
    """
    state = state | {"state": {int(index): moment for index, moment in state["state"].items()}}
    optimizer.load_state_dict(state)
    for weight, moment in optimizer.state.items():
        for name, value in moment.items():
            if value.shape == weight.shape:
                moment[name] = torch.empty_like(weight, requires_grad=False).copy_(value)


class StopRequest:
    """Whether SIGTERM came: pre-emption, a time limit, Snakemake's end."""

    asked = False


@contextmanager
def delay_sigterm() -> Iterator[StopRequest]:
    """Delay SIGTERM: within the context it is noted, for the work to stop at a point that it chooses."""
    request = StopRequest()
    before = signal.signal(signal.SIGTERM, lambda *_: setattr(request, "asked", True))
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before)

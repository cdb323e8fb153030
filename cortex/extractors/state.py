"""Where a training stands, kept in a file, so that one that was interrupted goes on to the same weights.

The file is safetensors: tensors, and the rest as JSON in its metadata. It names what the result depends on (settings,
data, code), and state that belongs to anything else is never gone on from.
"""

import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cortex.errors import InputError
from cortex.fingerprint import code_fingerprint
from cortex.weights import read_weights, write_weights


@dataclass
class Training:
    """A training between two of its steps: all that the remaining ones depend on."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    order: torch.Generator  # draws the order of the images of every epoch
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler("cpu", enabled=False))
    epoch: int = 1  # the one that goes on
    step: int = 0  # its steps done
    rate: float = 0.0  # the learning rate at its beginning
    began: float = field(default_factory=time.perf_counter)  # when; or when it would have, without the interruption
    images: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # in its order, [N]
    losses: Tensor = field(default_factory=lambda: torch.empty(0))  # of its steps, summed over a step's images
    rows: list[dict[str, Any]] = field(default_factory=list)  # the history of the epochs before
    best: dict[str, Tensor] = field(default_factory=dict)  # weights of the one of lowest validation loss
    best_loss: float = math.inf


PARTS = ("model", "optimizer", "schedule", "scaler")
VALUES = ("epoch", "step", "rate", "images", "losses", "rows", "best", "best_loss")


def identify(settings: dict[str, Any], *modules: str) -> dict[str, Any]:
    """What a result depends on: settings, or their content where they are files, and the code of modules."""
    identity: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Path):
            with open(value, "rb") as file:
                identity[name] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            identity[name] = value
    return identity | {"code": code_fingerprint(*modules), "torch": torch.__version__}


def save_state(path: Path, training: Training, identity: dict[str, Any]) -> None:
    """Write where the training stands, whole or not at all."""
    state = {name: getattr(training, name).state_dict() for name in PARTS}
    state |= {name: getattr(training, name) for name in VALUES}
    state["seconds"] = time.perf_counter() - training.began
    state["random"] = {"order": training.order.get_state(), "dropout": _random_state(training.losses.device)}
    tensors: dict[str, Tensor] = {}

    def keep(value: object) -> dict[str, str]:
        if not isinstance(value, Tensor):
            raise TypeError(f"{value!r} cannot be kept")
        tensors[str(len(tensors))] = value
        return {"tensor": str(len(tensors) - 1)}

    text = json.dumps(state, default=keep)
    write_weights(path, tensors, {"identity": json.dumps(identity), "state": text})


def resume(path: Path, training: Training, identity: dict[str, Any]) -> str:
    """Bring a new training to where that at ``path`` stood, if there is one and it is this one; say which it is.

    Raises:
        InputError: the state is this training's, but damaged.
    """
    if not path.exists():
        return ""
    try:
        tensors, metadata = read_weights(path)
        found = json.loads(metadata["identity"])
        others = sorted(name for name in identity.keys() | found.keys() if identity.get(name) != found.get(name))
    except (InputError, ValueError, LookupError, AttributeError) as error:
        return f"{path} is no training's state, and the training starts anew: {error}"
    if others:
        return f"{path} belongs to a training that differs in {', '.join(others)}; this one starts anew"
    try:
        state = json.loads(
            metadata["state"],
            object_hook=lambda part: tensors[part["tensor"]] if part.keys() == {"tensor"} else part,
        )
        _restore(training, state)
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(f"{path}: damaged; delete it, and the training starts anew: {error!r}") from None
    return f"goes on from {path}: epoch {training.epoch}, after {training.step} of its steps"


def _restore(training: Training, state: dict[str, Any]) -> None:
    device = training.losses.device
    moments = state["optimizer"]["state"]
    state["optimizer"]["state"] = {int(index): moment for index, moment in moments.items()}  # JSON made them text
    for name in PARTS:
        getattr(training, name).load_state_dict(state[name])
    # Moments lie in memory as their weights do, channels last: another order would add up in another order.
    for weight, moment in training.optimizer.state.items():
        for name, value in moment.items():
            if value.shape == weight.shape:
                moment[name] = torch.empty_like(weight, requires_grad=False).copy_(value)
    for name in VALUES:
        setattr(training, name, state[name])
    training.began = time.perf_counter() - state["seconds"]
    training.images, training.losses = training.images.to(device), training.losses.to(device)
    training.order.set_state(state["random"]["order"])
    _set_random_state(state["random"]["dropout"], device)


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Within it, SIGTERM (pre-emption, a time limit, Snakemake's end) sets the event and does nothing else."""
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)

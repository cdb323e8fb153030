"""Where a training stands, kept in a file, so that one that was interrupted goes on to the same weights.

The file (:mod:`cortex.core.state`) names what the result depends on: settings, data, code.
"""

import hashlib
import logging
import math
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cortex.core.errors import StoppedError
from cortex.core.fingerprint import code_fingerprint
from cortex.core.state import damaged, read_state, restore_optimizer, write_state
from cortex.extractors.process_group import ALONE, ProcessGroup

log = logging.getLogger(__name__)


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
VALUES = ("epoch", "step", "rate", "images", "rows", "best", "best_loss")


def identify(settings: dict[str, Any], *references: str) -> dict[str, Any]:
    """What a result depends on: settings, or their content where they are files, and the code of definitions."""
    identity: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Path):
            with open(value, "rb") as file:
                identity[name] = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            identity[name] = value
    return identity | {"code": code_fingerprint(*references), "torch": torch.__version__}


class StateFile:
    """The file of a training's state. As a context, it delays SIGTERM to the next :meth:`stop_if_requested`.

    Args:
        path: safetensors file, there or not.
        identity: of the training (:func:`identify`).
        team: the processes of the training; all of them call every method, and the first one writes.
    """

    def __init__(self, path: Path, identity: dict[str, Any], team: ProcessGroup = ALONE):
        self.path, self._identity, self._team = path, identity | {"processes": team.size}, team
        self._asked = False

    def __enter__(self) -> "StateFile":
        self._before = signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_asked", True))
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def stop_if_requested(self, training: Training) -> None:
        """Between two steps: save the state and stop, if SIGTERM came (pre-emption, a time limit, Snakemake's end).

        Raises:
            StoppedError: it came.
        """
        if self._team.any(self._asked):
            self.save(training)
            raise StoppedError(
                f"in epoch {training.epoch}, after {training.step} of its {len(training.losses)} steps; "
                f"the same command goes on from there, by {self.path}"
            )

    def save(self, training: Training) -> None:
        """Write where the training stands, whole or not at all."""
        device = training.losses.device
        state = {name: getattr(training, name).state_dict() for name in PARTS}
        state |= {name: getattr(training, name) for name in VALUES}
        state["seconds"] = time.perf_counter() - training.began
        state["losses"] = self._team.total(training.losses)
        state["order"], state["dropout"] = training.order.get_state(), self._team.gather(_random_state(device))
        if self._team.rank == 0:
            write_state(self.path, self._identity, state)
        self._team.any(False)  # none ends before it is written

    def resume(self, training: Training) -> None:
        """Bring a new training to where the state stands, if the file is there and the state is this training's.

        Raises:
            InputError: the state is this training's, but damaged.
        """
        state = read_state(self.path, self._identity)
        if state is None:
            return
        try:
            self._restore(training, state)
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            raise damaged(self.path, error) from None
        log.info("goes on from %s: epoch %d, after %d of its steps", self.path, training.epoch, training.step)

    def _restore(self, training: Training, state: dict[str, Any]) -> None:
        device = training.losses.device
        restore_optimizer(training.optimizer, state["optimizer"])
        for name in PARTS:
            if name != "optimizer":
                getattr(training, name).load_state_dict(state[name])
        for name in VALUES:
            setattr(training, name, state[name])
        training.began = time.perf_counter() - state["seconds"]
        training.images = state["images"].to(device)
        training.losses = state["losses"].to(device) * (self._team.rank == 0)  # those of all: one has them
        training.order.set_state(state["order"])
        _set_random_state(state["dropout"][self._team.rank], device)

    def remove(self) -> None:
        """The training is done."""
        self.path.unlink(missing_ok=True)


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)

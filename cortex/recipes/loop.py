"""What the trainings of a recipe share: a place in the order of the pictures, saved from time to time."""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from cortex.core.errors import StoppedError
from cortex.core.state import damaged, delay_sigterm, read_state, restore_optimizer, write_state

log = logging.getLogger(__name__)

History = list[dict[str, Any]]


class Stateful(Protocol):
    """A network, schedule or count whose state can be kept."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


@dataclass
class Loop:
    """A training between two of its steps.

    Args:
        name: of the training, for the log.
        pictures: their number.
        batch: pictures a step; what is left over of an epoch is left out of it.
        epochs: passes over the pictures.
        random: draws the order, and everything else of the training that is random and not torch's own.
        parts: what the remaining steps depend on, by name.
        state: file of the state.
        identity: what the training depends on.
        save_every: seconds between two saved states.
    """

    name: str
    pictures: int
    batch: int
    epochs: int
    random: torch.Generator
    parts: dict[str, Stateful]
    state: Path
    identity: dict[str, Any]
    save_every: float
    epoch: int = 1
    step: int = 0  # steps done of the epoch
    total: float = 0.0  # loss of these, summed over steps
    seconds: float = 0.0  # of the epoch, before an interruption
    order: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))
    history: History = field(default_factory=list)
    began: float = field(default=0.0, init=False)  # when the epoch would have begun without interruption

    @property
    def steps_per_epoch(self) -> int:
        return max(1, self.pictures // self.batch)

    @property
    def done(self) -> int:
        """Steps done of all epochs."""
        return (self.epoch - 1) * self.steps_per_epoch + self.step

    def resume(self) -> None:
        """Go on where the file's state stands, if it is this training's.

        Raises:
            InputError: it is damaged.
        """
        state = read_state(self.state, self.identity)
        if state is None:
            return
        try:
            for name, part in self.parts.items():
                if isinstance(part, torch.optim.Optimizer):
                    restore_optimizer(part, state["parts"][name])
                else:
                    part.load_state_dict(state["parts"][name])
            for name in ("epoch", "step", "total", "seconds", "order", "history"):
                setattr(self, name, state[name])
            self.random.set_state(state["random"])
            torch.set_rng_state(state["torch"])
        except (ValueError, TypeError, LookupError, RuntimeError) as error:
            raise damaged(self.state, error) from None
        log.info("%s: goes on in epoch %d, after %d of its steps", self.name, self.epoch, self.step)

    def save(self) -> None:
        """Write where the training stands."""
        names = ("epoch", "step", "total", "seconds", "order", "history")
        state: dict[str, Any] = {name: getattr(self, name) for name in names}
        state["parts"] = {name: part.state_dict() for name, part in self.parts.items()}
        state["random"], state["torch"] = self.random.get_state(), torch.get_rng_state()
        write_state(self.state, self.identity, state)

    def steps(self) -> Iterator[tuple[Tensor, bool]]:
        """The pictures of every remaining step, int64 ``[batch]``, and whether the step is the last of its epoch.

        The caller adds the loss of a step to ``total``, and at the end of an epoch a row to ``history``
        (:meth:`end_epoch`).

        Raises:
            StoppedError: SIGTERM came; the state is saved.
        """
        last = self.steps_per_epoch
        with delay_sigterm() as request:
            saved = told = time.monotonic()
            while self.epoch <= self.epochs:
                if self.step == 0:
                    self.order = torch.randperm(self.pictures, generator=self.random)
                self.began = time.monotonic() - self.seconds
                while self.step < last:
                    rows = self.order[self.step * self.batch : (self.step + 1) * self.batch]
                    self.step += 1
                    yield rows, self.step == last
                    self.seconds = time.monotonic() - self.began
                    now = time.monotonic()
                    if now - told > 30:
                        told = now
                        mean = self.total / self.step
                        what = (self.name, self.epoch, self.epochs, self.step, last, mean)
                        log.info("%s: epoch %d of %d, step %d of %d, loss %.4f", *what)
                    if request.asked or now - saved > self.save_every:
                        self.save()
                        saved = now
                    if request.asked:
                        raise StoppedError(
                            f"{self.name}, in epoch {self.epoch}, after {self.step} of its {last} steps; "
                            f"the same command goes on from there, by {self.state}"
                        )
                self.epoch, self.step, self.total, self.seconds = self.epoch + 1, 0, 0.0, 0.0
        self.save()  # of a recipe with a second training: this one is not done again

    def end_epoch(self, **measured: float | int | None) -> None:
        """Note an epoch: its number, its mean training loss, what was measured, its seconds."""
        row = {"stage": self.name, "epoch": self.epoch, "train_loss": self.total / self.step} | measured
        self.history.append(row | {"seconds": time.monotonic() - self.began})
        told = ", ".join(f"{name} {value:.4g}" for name, value in measured.items() if value is not None)
        log.info("%s: epoch %d of %d, loss %.4f, %s", self.name, self.epoch, self.epochs, row["train_loss"], told)

"""The lines of the bench's tables, the timing of two functions in turns, and the check that both compute the same."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Args:
        path: what is timed.
        rate: items a second, with their unit.
        against: the plain formulation.
        ratio: how many times faster (or smaller) ours is; None where nothing is beside it.
        goal: the ratio to reach, if there is one.
        bound: what limits it, and the share of that reached, where that can be counted.
    """

    path: str
    rate: str
    against: str = ""
    ratio: float | None = None
    goal: float | None = None
    bound: str = ""

    def line(self) -> str:
        """Its line of the table."""
        ratio, goal = ("" if number is None else f"{number:.4g}×" for number in (self.ratio, self.goal))
        return LINE.format(self.path, self.rate, self.against, ratio, goal, self.bound).rstrip()


# Largest norm of a difference, as a share of the norm: another order of sums turns a few ReLUs and max-pools that are
# near a tie, and gradients jump there.
ROUNDING = 0.02
LINE = "{:<44} {:>32}  {:<46} {:>7} {:>6}  {}"


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    torch.cuda.synchronize() if torch.cuda.is_available() else None
    began = time.perf_counter()
    function()
    torch.cuda.synchronize() if torch.cuda.is_available() else None
    return time.perf_counter() - began


def faster(ours: Callable[[], object], theirs: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Seconds of ours, and how many times as long theirs takes: medians of turns, one after the other."""
    ours()  # the first call allocates
    turns = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    return statistics.median(mine for mine, _ in turns), statistics.median(other / mine for mine, other in turns)


def check(path: str, same: bool, difference: str = "") -> None:
    """End the bench with one line where ours and a baseline of a row do not compute the same."""
    if not same:
        raise SystemExit(f"{path}: ours and the baseline do not compute the same{difference}; the bench stops")


def agree(path: str, ours: Tensor, theirs: Tensor) -> None:
    """:func:`check` that two tensors are the same but for rounding: see ``ROUNDING``."""
    check(path, ours.shape == theirs.shape, f": shapes {tuple(ours.shape)} and {tuple(theirs.shape)}")
    difference = ((ours.double() - theirs.double()).norm() / theirs.double().norm()).item()
    check(path, difference <= ROUNDING, f": they differ by {difference:.2g} of their norm")


def agree_in_codes(path: str, ours: Tensor, theirs: Tensor, differing: float = 0.0) -> None:
    """:func:`check` that two tensors of integers are the same, but for a share of them that rounding can change."""
    check(path, ours.shape == theirs.shape, f": shapes {tuple(ours.shape)} and {tuple(theirs.shape)}")
    share = (ours != theirs).double().mean().item()
    check(path, share <= differing, f": {share:.1%} of the integers differ")

"""Sums of numbers by pair of a label and a token, added up part by part."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class PairSums:
    """Sums by pair; memory is that of the distinct pairs that occur, not of labels × codebook.

    Args:
        columns: numbers that every pair has.
        dtype: of the sums.
    """

    def __init__(self, columns: int = 1, dtype: type[np.generic] = np.int64):
        self.pairs = np.empty(0, np.int64)  # label · K + token, ascending
        self.sums: NDArray[Any] = np.empty((columns, 0), dtype)

    def add(self, pairs: NDArray[np.int64], sums: NDArray[Any]) -> None:
        """Add sums ``[columns, n]`` of n distinct pairs, ascending."""
        merged, _ = distinct(np.concatenate([self.pairs, pairs]))
        total = np.zeros((len(self.sums), len(merged)), self.sums.dtype)
        total[:, np.searchsorted(merged, self.pairs)] = self.sums
        total[:, np.searchsorted(merged, pairs)] += sums
        self.pairs, self.sums = merged, total


def distinct(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct values, ascending, and how often each occurs; ``values`` are sorted in place.

    As ``numpy.unique``, several times faster: a stable sort merges runs that are in order already.
    """
    values.sort(kind="stable")
    starts = starts_of(values)
    return values[starts], np.diff(starts, append=len(values))


def starts_of(values: NDArray[np.integer]) -> NDArray[np.int64]:
    """The first place of every run of equal values."""
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))

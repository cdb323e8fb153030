"""Sums of numbers by pair of a label and a token, added up part by part."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


class PairSums:
    """Sums by pair; memory is that of the distinct pairs that occur, not of labels × codebook.

    Sums of pairs that are known are added in place. New pairs wait until they are many: every merge touches all pairs.

    Args:
        columns: numbers that every pair has.
        dtype: of the sums.
    """

    def __init__(self, columns: int = 1, dtype: type[np.generic] = np.int64):
        self._pairs = np.empty(0, np.int64)
        self._sums: NDArray[Any] = np.empty((columns, 0), dtype)
        self._waiting: list[tuple[NDArray[np.int64], NDArray[Any]]] = []

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The pairs, label · K + token, ascending."""
        self._merge()
        return self._pairs

    @property
    def sums(self) -> NDArray[Any]:
        """Sums ``[columns, pairs]``."""
        self._merge()
        return self._sums

    def add(self, pairs: NDArray[np.int64], sums: NDArray[Any]) -> None:
        """Add sums ``[columns, n]`` of n distinct pairs, ascending."""
        places = np.searchsorted(self._pairs, pairs)
        known = places < len(self._pairs)
        known[known] = self._pairs[places[known]] == pairs[known]
        self._sums[:, places[known]] += sums[:, known]
        self._waiting.append((pairs[~known], sums[:, ~known]))
        if sum(len(new) for new, _ in self._waiting) > len(self._pairs) // 4:
            self._merge()

    def _merge(self) -> None:
        if not any(len(new) for new, _ in self._waiting):
            self._waiting = []
            return
        merged, _ = distinct(np.concatenate([self._pairs, *(new for new, _ in self._waiting)]))
        total = np.zeros((len(self._sums), len(merged)), self._sums.dtype)
        for pairs, sums in [(self._pairs, self._sums), *self._waiting]:
            total[:, np.searchsorted(merged, pairs)] += sums
        self._pairs, self._sums, self._waiting = merged, total, []


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

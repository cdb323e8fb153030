"""Occurrences of codes in the train images: how often, in how many images, and where in the grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cortex.explain.pair_sums import PairSums, distinct, starts_of

AT_ONCE = 10_000  # images counted at once

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Occurrences:
    """Counts of a codebook's codes in labelled grids; n pairs of a label and a token that occur, ascending.

    Args:
        codes: in the codebook, K.
        grid: (h, w).
        class_images: images of every label, int64 ``[labels]``.
        labels, tokens: the pairs, int64 ``[n]``.
        counts: occurrences of every pair, int64 ``[n]``.
        images: of the label that hold the token, int64 ``[n]``.
        squares: sum over images of the squared number of occurrences, int64 ``[n]``.
        heat: occurrences of every code by position, int64 ``[K, P]``.
    """

    codes: int
    grid: tuple[int, int]
    class_images: Integers
    labels: Integers
    tokens: Integers
    counts: Integers
    images: Integers
    squares: Integers
    heat: Integers

    @property
    def classes(self) -> int:
        """Labels that have images, C."""
        return int(np.count_nonzero(self.class_images))

    @property
    def positions(self) -> int:
        """Positions of a grid, P."""
        return self.grid[0] * self.grid[1]

    @property
    def rates(self) -> Numbers:
        """Occurrences of every pair's token in an image of its label, on average: ``[n]``."""
        return self.counts / self.class_images[self.labels]

    @property
    def variances(self) -> Numbers:
        """Variance of every pair's count, images being the sample: ``[n]``; 0 of a label with one image."""
        images = self.class_images[self.labels]
        spread: Numbers = np.maximum(self.squares - self.counts**2 / images, 0) * images / np.maximum(images - 1, 1)
        return spread

    def by_code(self, values: NDArray[np.number]) -> Numbers:
        """Sums of the pairs' values by code: ``[K]``."""
        return np.bincount(self.tokens, values, self.codes).astype(np.float64)

    def class_shares(self) -> Numbers:
        """Share of every token that stands in images of its pair's label, were labels equally frequent: ``[n]``."""
        shares: Numbers = self.rates / self.by_code(self.rates)[self.tokens]
        return shares


def count_occurrences(packed: NDArray[np.void], codes: int) -> Occurrences:
    """Count the codes of packed grids, part by part.

    Args:
        packed: records (label, grid).
        codes: in the codebook.
    """
    height, width = packed.dtype["grid"].shape
    sums, heat = PairSums(3), np.zeros(codes * height * width, np.int64)
    class_images = np.bincount(packed["label"])
    for start in range(0, len(packed), AT_ONCE):
        part = packed[start : start + AT_ONCE]
        tokens = part["grid"].reshape(len(part), -1).astype(np.int64)
        places = tokens * tokens.shape[1] + np.arange(tokens.shape[1])
        heat += np.bincount(places.ravel(), minlength=len(heat))
        pairs, times = held_codes(tokens, codes)
        pairs += (part["label"].astype(np.int64) - np.arange(len(part)))[pairs // codes] * codes  # image → its label
        order = np.argsort(pairs, kind="stable")
        pairs, times = pairs[order], times[order]
        starts = starts_of(pairs)
        sums.add(pairs[starts], np.add.reduceat(np.stack([times, np.ones_like(times), times**2]), starts, axis=1))
    labels, tokens = np.divmod(sums.pairs, codes)
    counts, images, squares = sums.sums
    by_position = heat.reshape(codes, -1)
    return Occurrences(codes, (height, width), class_images, labels, tokens, counts, images, squares, by_position)


def held_codes(tokens: Integers, codes: int) -> tuple[Integers, Integers]:
    """The codes that every image holds, as image · K + token, ascending; and how often each.

    Args:
        tokens: ``[N, P]``.
        codes: in the codebook, K.
    """
    return distinct((np.arange(len(tokens))[:, None] * codes + tokens).ravel())

"""Figures of counts of tokens: Cliff's delta, the share of a group, and their values in bootstrap resamples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Numbers = NDArray[np.float64]

AT_ONCE = 4_000_000  # resampled images held at once
ALIKE = 1e-9  # in place of no difference between the groups in a resample, where a share is undefined


@dataclass(frozen=True)
class Resampled:
    """Figures of a set of images in R bootstrap resamples, ``[R]`` each.

    Args:
        mean: mean over images of the difference of the two counts.
        delta: Cliff's delta between the two counts.
    """

    mean: Numbers
    delta: Numbers


def resample(
    first: Counts, second: Counts, strata: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> Resampled:
    """Draw images with replacement, as many of each stratum as there are, and compute the figures of each draw.

    Args:
        first, second: counts of the two groups' tokens in every image, ``[N]``.
        strata: of every image, ``[N]``.
        resamples: number of draws, R.
        rng: of the draws.
    """
    order = np.argsort(strata, kind="stable")
    of_stratum = strata[order]
    start, end = (np.searchsorted(of_stratum, of_stratum, side) for side in ("left", "right"))
    first, second = first[order], second[order]
    means, deltas = [], []
    at_once = max(1, AT_ONCE // len(order))
    for done in range(0, resamples, at_once):
        uniform = rng.random((min(at_once, resamples - done), len(order)))
        drawn = start + (uniform * (end - start)).astype(np.int64)
        one, other = first[drawn], second[drawn]
        means.append((one - other).mean(1))
        deltas.append(cliffs_delta(one, other))
    return Resampled(np.concatenate(means), np.concatenate(deltas))


def interval(resampled: Numbers) -> tuple[float, float]:
    """The 95 % interval of a figure: percentiles of its values in resamples."""
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def place_between(value: Numbers | float, first: Numbers | float, second: Numbers | float) -> Numbers:
    """Place of a mean between those of two groups: 0 at the second's, 1 at the first's.

    The mean over a mixture of the groups is linear in its shares, so this estimates the first group's.
    """
    gap = np.asarray(first) - second
    place: Numbers = (value - np.asarray(second)) / np.where(gap == 0, ALIKE, gap)
    return place


def cliffs_delta(x: Counts, y: Counts) -> Numbers:
    """Cliff's delta ``[...]`` of counts ``[..., n]`` and ``[..., m]``: (pairs with x > y less those with x < y) / n·m.

    Equal to 2U/(nm) - 1 of Mann-Whitney. Time is that of n + m, not of the pairs: counts are small whole numbers.
    """
    largest = int(max(x.max(), y.max())) + 1
    of_x, of_y = _histogram(x, largest), _histogram(y, largest)
    up_to = of_y.cumsum(-1)
    below, above = up_to - of_y, up_to[..., -1:] - up_to
    delta: Numbers = (of_x * (below - above)).sum(-1) / (x.shape[-1] * y.shape[-1])
    return delta


def _histogram(values: Counts, size: int) -> Counts:
    """How often each of 0 to ``size`` - 1 is among values ``[..., n]``: ``[..., size]``."""
    flat = values.reshape(-1, values.shape[-1])
    places = flat + size * np.arange(len(flat))[:, None]
    return np.bincount(places.ravel(), minlength=size * len(flat)).reshape(*values.shape[:-1], size)

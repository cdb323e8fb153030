"""Means over trainings of two runs: their differences, and means over pairs (METHOD.md, section 10)."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import elementwise

from cortex.evaluate.estimates import LEVEL, ROUNDING, Estimates, Values, Vector, chi_squared, mean_squares

AT_ONCE = 4_000_000  # variances at once
# Nodes of the integrals over every run's mean square of trainings, and of images: errors below 0.1 % from 3 images on.
NODES = 20, 6


def difference(one: Values, other: Values, *, same_images: bool) -> Estimates:
    """Mean of ``one`` ``[T, C, N]`` minus that of ``other`` ``[S, C, M]``, over trainings and images of two runs.

    The trainings of two runs are different ones. The effect size is the difference in standard deviations of the values
    of a run, the root mean square of both.

    Args:
        one, other: values of T and S trainings on N and M images.
        same_images: whether both are of the same images, in the same order.
    """
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    of_images = one.mean(0), other.mean(0)
    means = np.stack([of.mean(1) for of in of_images])
    mean, scale = means[0] - means[1], np.abs(means).max(0)
    spread = np.sqrt((_variance(one) + _variance(other)) / 2)
    effect_size = np.divide(mean, spread, out=np.full(len(mean), np.nan), where=spread > ROUNDING * scale)
    images = [of_images[0] - of_images[1]] if same_images else [*of_images]
    return replace(_estimates(mean, scale, [one, other], images), effect_size=effect_size)


def over_pairs(values: Values) -> Estimates:
    """Mean of ``[T, S, C, N]`` over all pairs of a training of a run and one of another, and over N units.

    Pairs share trainings. The variance of their mean is that of the trainings' means over their partners.
    """
    exact: Values = np.asarray(values, np.float64)
    mean = exact.mean((0, 1, 3))
    return _estimates(mean, np.abs(mean), [exact.mean(1), exact.mean(0)], [exact.mean((0, 1))])


def _variance(values: Values) -> Vector:
    """Variance ``[C]`` of all values ``[T, C, N]`` of a mean; 0 of a single one."""
    single = values.shape[0] * values.shape[2] == 1
    found: Vector = np.zeros(values.shape[1]) if single else values.var((0, 2), ddof=1)
    return found


def _estimates(mean: Vector, scale: Vector, trainings: Sequence[Values], images: Sequence[Values]) -> Estimates:
    """Estimates of a mean, or of a difference of means, by the generalized pivotal quantity; without effect sizes.

    Args:
        mean: of C samples.
        scale: of the values; a much smaller spread is rounding.
        trainings: values ``[T, C, N]`` of every run, whose trainings are a random sample.
        images: values ``[C, N]``, means over trainings, whose images are a random sample. They carry the rest, too.
    """
    tested = sum(values.var(1) for values in images) + sum(values.mean(2).var(0) for values in trainings)
    chosen = np.flatnonzero(np.sqrt(tested) > ROUNDING * scale)
    p, low, high = np.ones(len(mean)), mean.copy(), mean.copy()
    nodes = [NODES[0] for values in trainings if len(values) > 1] + [NODES[1] for _ in images]
    step = max(1, AT_ONCE // int(np.prod(nodes)))
    for start in range(0, len(chosen), step):
        part = chosen[start : start + step]
        variances, weights, most = _distribution([of[:, part] for of in trainings], [of[part] for of in images])
        p[part] = _tail(np.abs(mean[part]), variances, weights)
        half = _half_width(variances, weights, most)
        low[part], high[part] = mean[part] - half, mean[part] + half
    return Estimates(mean, low, high, np.full(len(mean), np.nan), p)


def _distribution(trainings: Sequence[Values], images: Sequence[Values]) -> tuple[Values, Vector, Vector]:
    """Variances ``[C, K]`` that the mean can have, their probabilities ``[K]``, and a bound of its half-width ``[C]``.

    Trainings have a part of the variance beyond that of the rest, which the images' part contains. A sum of squares
    over its expectation is χ².
    """
    parts: list[tuple[Values, Vector]] = []
    squares: list[tuple[Vector, int]] = []  # of every part: variance of its mean, degrees of freedom
    for values in trainings:
        count, _, units = values.shape
        if count > 1:
            of_trainings, _, rest = mean_squares(values)
            x, weight = chi_squared(count - 1, NODES[0])
            beyond = np.maximum((count - 1) * of_trainings[:, None] / x - rest[:, None], 0)
            parts.append((beyond / (count * units), weight))
            squares.append((of_trainings / (count * units), count - 1))
    for means in images:
        units = means.shape[1]
        if units > 1:
            variance = means.var(1, ddof=1) / units
            y, weight = chi_squared(units - 1, NODES[1])
            parts.append(((units - 1) * variance[:, None] / y, weight))
            squares.append((variance, units - 1))
    variances, weights = reduce(_sum, parts)
    # The mean deviates by the sum of its parts at most: one of them exceeds its bound at this level.
    most = sum(stats.t.isf(LEVEL / (2 * len(squares)), free) * np.sqrt(variance) for variance, free in squares)
    return variances, weights, np.asarray(most)


def _sum(one: tuple[Values, Vector], other: tuple[Values, Vector]) -> tuple[Values, Vector]:
    """The distribution of the sum of two independent variances, each ``[C, K]`` with probabilities ``[K]``."""
    variances = one[0][:, :, None] + other[0][:, None, :]
    return variances.reshape(len(variances), -1), np.outer(one[1], other[1]).ravel()


def _tail(deviation: Vector, variances: Values, weights: Vector) -> Vector:
    """Probability that the mean deviates this far ``[C]`` from its expectation, or further."""
    found: Vector = 2 * special.ndtr(-deviation[:, None] / np.sqrt(variances + np.finfo(float).tiny)) @ weights
    return found


def _half_width(variances: Values, weights: Vector, most: Vector) -> Vector:
    """The deviation ``[C]`` that the mean exceeds with probability :data:`LEVEL`; it is about ``most`` or less."""

    def beyond(deviation: Vector, place: NDArray[np.float64]) -> Vector:
        return _tail(deviation, variances[place.astype(int)], weights) - LEVEL

    found = elementwise.find_root(beyond, (np.zeros_like(most), 2 * most), args=(np.arange(len(most), dtype=float),))
    half: Vector = found.x
    return half

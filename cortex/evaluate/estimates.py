"""Means with their intervals and tests: over images, and over trainings and images (METHOD.md, section 9)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from scipy.optimize import elementwise

from cortex.core.errors import InputError
from cortex.evaluate.intervals import mean_intervals
from cortex.extractors.names import join_name, trainings_alone

Values = NDArray[np.float64]
Vector = NDArray[np.float64]
MeanSquares = tuple[Vector, Vector, Vector]  # of trainings, of images, of the rest
LEVEL = 0.05  # 95 % intervals
ROUNDING = 1e-9  # values are float32: a smaller spread, in units of the mean, is rounding
NODES = 32, 12  # of the integrals over the mean squares of trainings and of images
AT_ONCE = 500  # means at once
UNLIMITED = (-np.inf, np.inf)
SHARE, DIFFERENCE = (0.0, 1.0), (-1.0, 1.0)
# Least and greatest value of measures, by name; all others are unlimited.
RANGES = {
    **dict.fromkeys(("accuracy", "precision", "recall", "overlap", "token_overlap", "even_share", "share"), SHARE),
    **dict.fromkeys(("probability", "unmasked_probability", "masked_fraction", "masked_brightness"), SHARE),
    **{f"{of}_probability_{when}": SHARE for of in ("source", "target") for when in ("before", "after")},
    **dict.fromkeys(("correlation", "own_correlation", "probability_change"), DIFFERENCE),
    "tokens": (0.0, np.inf),
}


@dataclass(frozen=True)
class Estimates:
    """Means of C samples; every field is float64 ``[C]``.

    Args:
        mean: of the sample.
        low, high: its 95 % interval.
        effect_size: mean in standard deviations of the values; NaN without a spread.
        p: of the hypothesis that the expected mean is 0; 1 without a spread.
    """

    mean: Vector
    low: Vector
    high: Vector
    effect_size: Vector
    p: Vector

    def within(self, measures: Sequence[str]) -> "Estimates":
        """The same, with intervals that end where the range of each of the C measures ends (:data:`RANGES`)."""
        least, greatest = np.array([RANGES.get(measure, UNLIMITED) for measure in measures]).T
        return replace(self, low=self.low.clip(least, greatest), high=self.high.clip(least, greatest))

    def rows(self) -> Iterator[dict[str, float | None]]:
        """The fields of one mean after the other, None for NaN."""
        for numbers in zip(self.mean, self.low, self.high, self.effect_size, self.p, strict=True):
            fields = zip(("mean", "low", "high", "effect_size", "p"), map(float, numbers), strict=True)
            yield {name: None if np.isnan(number) else number for name, number in fields}


def by_training(values: Mapping[int, NDArray[np.floating]], resamples: int, seed: int) -> dict[int | None, Estimates]:
    """Estimates of values ``[C, N]`` by training: of each over images; then, as None, over all trainings and images.

    An average of trainings has estimates of its own, and is no part of those over all.
    """
    found: dict[int | None, Estimates] = {
        training: over_images(each, resamples, seed) for training, each in values.items()
    }
    if alone := trainings_alone(values):
        found[None] = over_trainings(np.stack(alone))
    return found


def check_alike(extractor: str, found: Mapping[int, Any]) -> None:
    """Refuse trainings of an extractor that were not measured on the same images.

    Args:
        extractor: its name.
        found: by training, the images and settings in their order.

    Raises:
        InputError: some trainings differ.
    """
    first, *others = found
    for training in others:
        if found[training] != found[first]:
            one, other = join_name(extractor, training), join_name(extractor, first)
            raise InputError(f"{one}: not the same images and settings, in the same order, as {other}")


def over_images(values: NDArray[np.floating], resamples: int, seed: int) -> Estimates:
    """Means of the rows of ``[C, N]`` over images: bootstrap intervals (percentiles), t-tests.

    Args:
        values: a row a measure, a column an image.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    exact: Values = np.asarray(values, np.float64)
    mean, effect_size, tested = _size(exact)
    p, low, high = np.ones(len(exact)), mean.copy(), mean.copy()
    if tested.any():
        p[tested] = stats.ttest_1samp(exact[tested], 0, axis=1).pvalue
        low[tested], high[tested] = mean_intervals(exact[tested], resamples, seed)
    return Estimates(mean, low, high, effect_size, p)


def over_trainings(values: NDArray[np.floating]) -> Estimates:
    """Means of ``[T, C, N]`` over T trainings and N images, both as samples: intervals and tests of the crossed model.

    The deviation of the mean from its expectation is normal, given its variance; the variance is that of a crossed
    random-effects model, and what the mean squares say of it is integrated over their distribution (generalized
    pivotal quantity). Of one training, the interval and the test cover images only.
    """
    exact: Values = np.asarray(values, np.float64)
    trainings, count, images = exact.shape
    mean, effect_size, tested = _size(exact.swapaxes(0, 1).reshape(count, -1))
    p, low, high = np.ones(count), mean.copy(), mean.copy()
    for start in range(0, count, AT_ONCE):
        part = start + np.flatnonzero(tested[start : start + AT_ONCE])
        if len(part):
            squares = mean_squares(exact[:, part])
            p[part] = _tail(np.abs(mean[part]), squares, trainings, images)
            half = _half_width(squares, trainings, images)
            low[part], high[part] = mean[part] - half, mean[part] + half
    return Estimates(mean, low, high, effect_size, p)


def mean_squares(values: Values) -> MeanSquares:
    """Mean squares ``[C]`` of trainings, of images and of the rest, of values ``[T, C, N]``; 0 of a single one."""
    trainings, _, images = values.shape
    of_trainings, of_images, mean = values.mean(2), values.mean(0), values.mean((0, 2))
    rest = values - of_trainings[:, :, None] - of_images + mean[:, None]
    free = trainings - 1, images - 1
    return (
        images * ((of_trainings - mean) ** 2).sum(0) / max(free[0], 1),
        trainings * ((of_images - mean[:, None]) ** 2).sum(1) / max(free[1], 1),
        (rest**2).sum((0, 2)) / max(free[0] * free[1], 1),
    )


def _size(values: Values) -> tuple[Vector, Vector, NDArray[np.bool_]]:
    """Means and effect sizes of the rows ``[C, n]``, and which have a spread to test against."""
    mean = values.mean(1)
    spread = values.std(1, ddof=1) if values.shape[1] > 1 else np.zeros(len(values))
    tested = spread > ROUNDING * np.abs(mean)
    return mean, np.divide(mean, spread, out=np.full(len(mean), np.nan), where=tested), tested


def _tail(deviation: Vector, squares: MeanSquares, trainings: int, images: int) -> Vector:
    """Probability that the mean deviates this far ``[C]`` from its expectation, or further, given the mean squares.

    A mean square times its degrees of freedom, over its expectation, is χ²: the integral is over these two numbers.
    The rest has the most degrees of freedom; its mean square counts as its expectation. No component is negative.
    """
    of_trainings, of_images, rest = (square[:, None] for square in squares)
    (x, x_weight), (y, y_weight) = chi_squared(trainings - 1, NODES[0]), chi_squared(images - 1, NODES[1])
    by_trainings = np.maximum((trainings - 1) * of_trainings / x - rest, 0)
    by_images = np.maximum((images - 1) * of_images / y - rest, 0)
    variance = (by_trainings[:, :, None] + by_images[:, None, :] + rest[:, None]) / (trainings * images)
    z = deviation[:, None, None] / np.sqrt(variance + np.finfo(float).tiny)
    found: Vector = np.einsum("cxy,x,y->c", 2 * special.ndtr(-z), x_weight, y_weight)
    return found


def _half_width(squares: MeanSquares, trainings: int, images: int) -> Vector:
    """The deviation ``[C]`` that the mean exceeds with probability :data:`LEVEL`."""
    # The mean deviates by three parts at most: an upper bound is three times one of a third of the level.
    free = min(count - 1 for count in (trainings, images) if count > 1)
    most = 3 * stats.t.isf(LEVEL / 6, free) * np.sqrt(sum(squares) / (trainings * images))
    found = elementwise.find_root(
        lambda deviation, *squares: _tail(deviation, squares, trainings, images) - LEVEL,
        (np.zeros_like(most), most),
        args=squares,
    )
    half: Vector = found.x
    return half


@cache
def chi_squared(free: int, nodes: int) -> tuple[Vector, Vector]:
    """Nodes and weights of an integral over the χ² distribution; one node where there is nothing to integrate.

    Gauss–Legendre in the fourth root of the distribution function, which resolves its lower tail.
    """
    if free == 0:
        return np.ones(1), np.ones(1)
    root, weight = np.polynomial.legendre.leggauss(nodes)
    root = (root + 1) / 2
    return stats.chi2.ppf(root**4, free), 2 * root**3 * weight

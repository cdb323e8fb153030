"""Uncertainty of means over images: bootstrap intervals of many means at once."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AT_ONCE = 4_000_000  # image numbers drawn at once


def mean_intervals(
    values: NDArray[np.floating], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % bootstrap intervals (percentiles) of the means of the rows of ``[C, N]``: low and high ``[C]``.

    Images, the N columns, are resampled once for all rows. A resample's means are a product of the values with the
    number of times that it drew every image, which takes a hundredth of the time of gathering the values drawn. The
    interval of equal values is their mean, and the interval of a single value is that value.

    Args:
        values: a row a measure, a column an image.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    count = values.shape[1]
    mean = values.mean(1, dtype=np.float64)
    if count < 2:
        return mean, mean
    deviations = values - mean[:, None]  # exactly 0 for equal values

    def means(drawn: NDArray[np.int64], axis: int) -> NDArray[np.float64]:
        """Means ``[C, R]`` of the images drawn ``[R, N]``."""
        assert axis == -1
        times = np.bincount((drawn + count * np.arange(len(drawn))[:, None]).ravel(), minlength=drawn.size)
        result: NDArray[np.float64] = deviations @ times.reshape(drawn.shape).T / count
        return result

    interval = stats.bootstrap(
        (np.arange(count),),
        means,
        axis=-1,
        n_resamples=resamples,
        batch=max(1, AT_ONCE // count),
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return mean + interval.low, mean + interval.high

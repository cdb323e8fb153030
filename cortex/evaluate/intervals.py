"""How far a mean over images would be another with other images: bootstrap intervals, many means at a time."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

AT_ONCE = 4_000_000  # image numbers drawn at once


def mean_intervals(
    values: NDArray[np.floating], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """95 % bootstrap intervals (percentiles) of the means of the rows of ``[C, N]``: low and high ``[C]``.

    What is resampled are the images, the N columns, once for all rows: a resample's means are one product of the values
    with how often it drew every image, which takes a hundredth of the time of gathering the values drawn. The interval
    of values that are all alike is their mean, and so is that of a single one, of which no spread can be known.

    Args:
        values: a row a measure, a column an image.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    count = values.shape[1]
    mean = values.mean(1, dtype=np.float64)
    if count < 2:
        return mean, mean
    deviations = values - mean[:, None]  # so that those of values that are all alike are 0, and not a rounding of it

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

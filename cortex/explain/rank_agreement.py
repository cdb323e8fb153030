"""How far two rankings of the same positions agree, image by image."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cortex.explain.ranks import ranks


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """Spearman's rank correlation over the positions of every image, ``[N]``, of scores ``[N, P]``.

    Equal scores share their mean rank. Scores that are the same everywhere rank nothing: their correlation counts as 0.
    """
    return row_correlation(stats.rankdata(one, axis=1), stats.rankdata(other, axis=1))


def own_rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """The same of what is every image's own: of every position's rank less its mean rank over the images.

    What all images have in common, such as ranks that strides and borders decide, does not count.
    """
    ranked = (stats.rankdata(scores, axis=1) for scores in (one, other))
    return row_correlation(*(rank - rank.mean(0) for rank in ranked))


def row_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson's correlation of each row of ``[N, P]``; 0 where a row has no spread."""
    one, other = (values - values.mean(1, keepdims=True) for values in (one, other))
    size = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return np.divide((one * other).sum(1), size, out=np.zeros(len(size)), where=size > 0)


def top_overlap(one: NDArray[np.floating], other: NDArray[np.floating], n: int) -> NDArray[np.float64]:
    """Share 0..1 of the n highest positions of every image that are the same, ``[N]``, of scores ``[N, P]``.

    Two rankings at random share n / P.
    """
    return ((ranks(one) < n) & (ranks(other) < n)).sum(1) / n

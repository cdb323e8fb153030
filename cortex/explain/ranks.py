"""Ranks of positions by their scores."""

import numpy as np
from numpy.typing import NDArray


def ranks(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rank of every position, 0 the highest score, of scores ``[N, P]``; ties go to the earlier position."""
    order = np.argsort(-scores, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(scores.shape[1])[None, :], axis=1)
    return rank

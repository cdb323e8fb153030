"""An order of the codebook in which neighbours are alike."""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import cdist

AT_ONCE = 256  # codes in one hierarchical clustering: its time grows with more than the square of their number

Order = NDArray[np.int64]


def likeness_order(vectors: NDArray[np.floating]) -> Order:
    """Rows of ``[K, d]`` in an order in which neighbours are alike, by Euclidean distance.

    Few vectors take the optimal order of the leaves of their hierarchical clustering. More are cut in two halves along
    their principal axis, each is ordered, and the halves are joined where they fit best.
    """
    exact = np.asarray(vectors, np.float64)
    return _ordered(exact, np.arange(len(exact)))


def _ordered(vectors: NDArray[np.float64], rows: Order) -> Order:
    if len(rows) < 3:
        return rows
    if len(rows) <= AT_ONCE:
        return rows[leaves_list(linkage(vectors[rows], "average", optimal_ordering=True))]
    centred = vectors[rows] - vectors[rows].mean(0)
    axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
    along = rows[np.argsort(centred @ axis, kind="stable")]
    first, second = (_ordered(vectors, half) for half in np.array_split(along, 2))
    gaps = cdist(vectors[first[[-1, 0]]], vectors[second[[0, -1]]])  # ends that could meet
    turned, other_turned = np.unravel_index(gaps.argmin(), gaps.shape)
    return np.concatenate([first[::-1] if turned else first, second[::-1] if other_turned else second])

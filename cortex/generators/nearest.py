"""From continuous vectors to codes."""

from torch import Tensor


def nearest_codes(vectors: Tensor, codebook: Tensor) -> Tensor:
    """Index int64 ``[...]`` of the code nearest, by Euclidean distance, to each of the vectors ``[..., d]``."""
    flat = vectors.reshape(-1, vectors.shape[-1])
    # |v − c|² = |v|² − 2 v·c + |c|², and |v|² does not change the order.
    nearest = (codebook.square().sum(1) - 2 * (flat @ codebook.T)).argmin(1)
    return nearest.reshape(vectors.shape[:-1])

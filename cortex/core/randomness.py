"""Random numbers that are functions of what they are for, not of when they are drawn.

Everything is derived from Philox4x32-10 (Salmon et al., SC 2011), a counter-based generator: its output is a
function of a key and a counter, so any sample's numbers can be computed alone, in any order, on any machine.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox(counters: NDArray[np.uint32], keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Philox4x32-10: counters ``[..., 4]`` and keys ``[..., 2]`` (broadcast together) to uint32 ``[..., 4]``."""
    c0, c1, c2, c3 = np.moveaxis(counters.astype(np.uint64), -1, 0)
    k0, k1 = np.moveaxis(keys.astype(np.uint64), -1, 0)
    for _ in range(10):
        left, right = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2  # 32 × 32 bits fit into 64
        c0, c1, c2, c3 = (right >> _HALF) ^ c1 ^ k0, right & _LOW, (left >> _HALF) ^ c3 ^ k1, left & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def sample_seeds(seed: int, stream: int, classes: ArrayLike, indices: ArrayLike) -> NDArray[np.uint64]:
    """A 64-bit seed for every sample of a data set, a function of (seed, stream, class, index) alone.

    Args:
        seed: the data set's seed, 0 to 2⁶⁴ − 1.
        stream: which of the data set's splits, so that the same index of two splits differs; below 2³².
        classes: class index of every sample, ``[B]``, below 2³².
        indices: index of every sample within its class and split, ``[B]``, below 2⁶⁴.
    """
    classes, indices = np.asarray(classes, np.uint64), np.asarray(indices, np.uint64)
    counters = np.stack([classes & _LOW, indices & _LOW, indices >> _HALF, np.full_like(classes, stream)], axis=-1)
    words = philox(counters.astype(np.uint32), _split_words(np.uint64(seed))).astype(np.uint64)
    return (words[..., 0] << _HALF) | words[..., 1]


def key_seeds(seed: int, purpose: str, keys: Sequence[str]) -> NDArray[np.uint64]:
    """A 64-bit seed for every image, a function of (seed, purpose, the image's key) alone: ``[B]``."""
    digests = (hashlib.blake2b(f"{seed}/{purpose}/{key}".encode(), digest_size=8).digest() for key in keys)
    return np.frombuffer(b"".join(digests), dtype="<u8")


def uniforms(seeds: NDArray[np.uint64], count: int) -> NDArray[np.float64]:
    """``count`` numbers in [0, 1), with 53 random bits each, for every seed of ``[B]``: ``[B, count]``."""
    counters = np.zeros((1, count, 4), np.uint32)
    counters[..., 0] = np.arange(count)
    words = philox(counters, _split_words(seeds)[:, None]).astype(np.uint64)
    bits = ((words[..., 0] << _HALF) | words[..., 1]) >> np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def _split_words(values: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint32]:
    return np.stack([values & _LOW, values >> _HALF], axis=-1).astype(np.uint32)

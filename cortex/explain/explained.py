"""A shard beside its importance file: the same images, in the same order."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.shard_reader import read_shard


@dataclass(frozen=True)
class ExplainedShard:
    """The images of a shard and their scores; grids and scores are flattened, P = h·w.

    Args:
        keys: one an image.
        labels: int64 ``[N]``.
        grids: int64 ``[N, P]``.
        importance: float32 ``[N, P]``.
        grid_shape: (h, w).
    """

    keys: list[str]
    labels: NDArray[np.int64]
    grids: NDArray[np.int64]
    importance: NDArray[np.float32]
    grid_shape: tuple[int, int]


def read_explained(shard: Path, importance: Path) -> ExplainedShard:
    """Read a shard with its importance file.

    Raises:
        InputError: either is missing or damaged, or they do not hold the same images.
    """
    samples = list(read_shard(shard))
    table = read_table(importance, ["key", "importance"])
    keys = [sample.key for sample in samples]
    if table["key"].to_pylist() != keys:
        raise InputError(f"{importance}: not of the same images, in the same order, as {shard}")
    grid_shape = samples[0].grid.shape
    scores = table["importance"].combine_chunks().flatten().to_numpy().reshape(len(samples), -1)
    grids = np.stack([sample.grid.ravel() for sample in samples]).astype(np.int64)
    if scores.shape != grids.shape:
        raise InputError(f"{importance}: {scores.shape[1]} scores an image, the grids of {shard} have {grids.shape[1]}")
    return ExplainedShard(
        keys=keys,
        labels=np.array([sample.label for sample in samples]),
        grids=grids,
        importance=scores,
        grid_shape=(grid_shape[0], grid_shape[1]),
    )


def ranks(importance: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rank of every position, 0 the most important, of scores ``[B, P]``; ties go to the earlier position."""
    order = np.argsort(-importance, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(importance.shape[1])[None, :], axis=1)
    return rank

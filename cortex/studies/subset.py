"""The images that controls look at: the first of every class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cortex.core.errors import InputError
from cortex.explain.explained import read_explained


@dataclass(frozen=True)
class Subset:
    """Some images and their token importance, P = h·w.

    Args:
        keys: one an image.
        labels: int64 ``[N]``.
        grids: int64 ``[N, h, w]``.
        importance: float32 ``[N, P]``.
    """

    keys: list[str]
    labels: NDArray[np.int64]
    grids: NDArray[np.int64]
    importance: NDArray[np.float32]

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Grids int64 ``[N, h, w]`` and labels int64 ``[N]`` on a device."""
        return torch.from_numpy(self.grids).to(device), torch.from_numpy(self.labels).to(device)


def read_subset(shards: Sequence[Path], importance: Sequence[Path], per_class: int, codes: int) -> Subset:
    """The first ``per_class`` images of every class, in the shards' order, with their scores.

    Raises:
        InputError: a file is damaged, shards and importance files do not go together, a class has too few images, or
            a token is outside of the codebook.
    """
    if len(shards) != len(importance) or not shards:
        raise InputError(f"{len(shards)} shards, {len(importance)} importance files: one for each is needed")
    seen: Counter[int] = Counter()
    keys, labels, grids, scores = [], [], [], []
    shape = None
    for shard, path in zip(shards, importance, strict=True):
        explained = read_explained(shard, path)
        if int(explained.grids.max()) >= codes:
            raise InputError(f"{shard}: token {int(explained.grids.max())}; allowed: 0 to {codes - 1}")
        if shape not in (None, explained.grid_shape):
            raise InputError(f"{shard}: grids of {explained.grid_shape}, those of {shards[0]} are of {shape}")
        shape = explained.grid_shape
        chosen = []
        for row, label in enumerate(explained.labels.tolist()):
            seen[label] += 1
            if seen[label] <= per_class:
                chosen.append(row)
        keys += [explained.keys[row] for row in chosen]
        labels.append(explained.labels[chosen])
        grids.append(explained.grids[chosen].reshape(-1, *shape))
        scores.append(explained.importance[chosen])
    short = {label: count for label, count in sorted(seen.items()) if count < per_class}
    if short:
        raise InputError(f"{shards[0].parent}: images by class {short}; {per_class} of each are needed")
    return Subset(keys, np.concatenate(labels), np.concatenate(grids), np.concatenate(scores))

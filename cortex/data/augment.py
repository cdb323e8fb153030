"""Random changes of pictures that keep their class, for the training of generators and judges."""

import numpy as np
import torch
from torch import Tensor

from cortex.data.settings import Augmentation

# Changes that an augmentation chooses from: a flip of left and right, and quarter turns.
VARIANTS: dict[str, int] = {"none": 1, "flip": 2, "flips_and_turns": 8}


def augment(images: Tensor, kind: Augmentation, random: torch.Generator) -> Tensor:
    """Pictures ``[N, 3, H, W]``, float in -1..1, each changed at random.

    Args:
        images: the pictures.
        kind: none; flip (left and right); flips_and_turns (flips and quarter turns, 8 variants, of square pictures);
            jitter (:func:`jitter`).
        random: the only randomness.
    """
    if kind == "jitter":
        return jitter(images, random)
    chosen = torch.randint(VARIANTS[kind], (len(images),), generator=random)
    return turned(images, chosen)


def turned(images: Tensor, variants: Tensor) -> Tensor:
    """Pictures ``[N, C, H, W]``, each flipped and turned by its variant.

    Args:
        images: the pictures.
        variants: int64 ``[N]``: 0 as it is, 1 flipped left to right, 2 to 7: those two after 1 to 3 quarter turns.
    """
    result = torch.empty_like(images)
    for variant in variants.unique().tolist():
        which = (variants == variant).nonzero()[:, 0]
        part = images[which].rot90(variant // 2, (2, 3))
        result[which] = part.flip(3) if variant % 2 else part
    return result


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

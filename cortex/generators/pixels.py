"""From a decoder's range of pixel values to bytes, and back."""

import torch
from torch import Tensor


def to_bytes(images: Tensor, pixels: tuple[float, float]) -> Tensor:
    """Images uint8 ``[B, H, W, 3]`` of a decoder's ``[B, 3, H, W]``, clamped to its range (black, white)."""
    black, white = pixels
    levels = (images.clamp(black, white) - black) * (255 / (white - black))
    return levels.round().to(torch.uint8).permute(0, 2, 3, 1)


def from_bytes(images: Tensor, pixels: tuple[float, float]) -> Tensor:
    """What an encoder takes, float32 ``[B, 3, H, W]`` in its range (black, white), of images uint8 ``[B, H, W, 3]``."""
    black, white = pixels
    return images.permute(0, 3, 1, 2).float().div_(255 / (white - black)).add_(black)

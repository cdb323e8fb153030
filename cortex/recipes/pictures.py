"""Pictures as the networks of a recipe take them."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from cortex.generators.pixels import from_bytes

PIXELS = (-1.0, 1.0)


def pictures_at(images: NDArray[Any], rows: Tensor) -> Tensor:
    """Some pictures of uint8 ``[N, H, W, 3]``, float ``[B, 3, H, W]`` in -1..1."""
    return from_bytes(torch.from_numpy(images[rows.numpy()]), PIXELS)


def place_images(images: Tensor, device: torch.device) -> Tensor:
    """Images ``[B, 3, H, W]`` on the device, channels last."""
    return images.to(device, memory_format=torch.channels_last)

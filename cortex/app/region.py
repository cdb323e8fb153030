"""The region of a picture to edit: given, or where its most important tokens are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.errors import InputError
from cortex.data.tokens import Tokens
from cortex.explain.scores import score_images
from cortex.explain.settings import Importance, Region
from cortex.extractors.codebook import look_up


def check_region(region: Sequence[int], grid_shape: tuple[int, int]) -> Region:
    """The region of top, left, height and width.

    Raises:
        InputError: it is empty or reaches beyond the grid.
    """
    top, left, height, width = region
    if min(top, left) < 0 or min(height, width) < 1 or top + height > grid_shape[0] or left + width > grid_shape[1]:
        raise InputError(
            f"--region = {' '.join(map(str, region))}: top, left, height and width, within rows 0 to "
            f"{grid_shape[0] - 1} and columns 0 to {grid_shape[1] - 1}"
        )
    return Region(top=top, left=left, height=height, width=width)


def most_important(
    size: Sequence[int], method: str, extractor: nn.Module, codebook: Tensor, image: Tokens, seed: int
) -> Region:
    """The region of a height and width whose tokens have the highest scores together.

    Args:
        size: height and width.
        method: attribution that scores the tokens, a registered name or module:function.
        extractor: in eval mode, its weights without gradients.
        codebook: ``[K, d]``.
        image: one, with the label to explain; label -1 stands for the class that the extractor reads.
        seed: seed of the noise, together with the image's key.

    Raises:
        InputError: the region is empty or does not fit into the grid, or there is no such attribution.
    """
    check_region((0, 0, *size), image.shape)
    if image.labels[0] < 0:
        with torch.inference_mode():
            grid = torch.from_numpy(image.grids).to(codebook.device)
            image = replace(image, labels=extractor(look_up(codebook, grid)).argmax(1).cpu().numpy())
    scores = score_images(method, extractor, codebook, image, Importance(), seed=seed)[0].reshape(image.shape)
    return highest_window(scores, size)


def highest_window(scores: NDArray[np.floating], size: Sequence[int]) -> Region:
    """The window of a height and width with the highest sum of scores ``[h, w]``, the first of equals."""
    height, width = size
    sums = np.lib.stride_tricks.sliding_window_view(scores.astype(np.float64), (height, width)).sum((2, 3))
    top, left = np.unravel_index(sums.argmax(), sums.shape)
    return Region(top=int(top), left=int(left), height=height, width=width)

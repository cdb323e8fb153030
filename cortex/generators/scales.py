"""Tokens of several scales: maps from coarse to fine, whose vectors add up to one map (Tian et al., 2024).

A token sequence holds the maps one after another, each row by row. Every scale has code indices of its own: index k of
scale s is s·K + k, where all scales share the K vectors.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.errors import InputError, reason_of

# The filter of each of ten scales, of four. Its authors choose the nearest of four numbers; ties between them fall as
# floating-point numbers do.
FILTERS = (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)


def ends_of(sides: Sequence[int]) -> list[int]:
    """Positions of a sequence before each scale, and after the last: of sides 1, 2, 3 they are 0, 1, 5, 14."""
    return [0, *accumulate(side * side for side in sides)]


class Composition(nn.Module):
    """From token vectors of all scales to the map that they add up to; affine, and the same for all images.

    A scale's map is enlarged to the last one's size by bicubic interpolation. Half of it, and half of what a filter
    makes of it, are added.

    Args:
        sides: rows and columns of every scale, from coarse to fine.
        channels: of a vector, d.
    """

    def __init__(self, sides: Sequence[int], channels: int):
        super().__init__()
        self.sides, self.ends = tuple(sides), ends_of(sides)
        self.qresi_ls = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(max(FILTERS) + 1))

    @classmethod
    def of_weights(cls, sides: Sequence[int], weights: Mapping[str, Tensor]) -> "Composition":
        """The composition of its weights by name.

        Raises:
            InputError: a weight is missing, unknown or of another shape.
        """
        try:
            composition = cls(sides, len(weights["qresi_ls.0.bias"]))
            composition.load_state_dict(dict(weights))
        except (LookupError, RuntimeError) as error:
            raise InputError(f"no weights of a composition of {len(sides)} scales: {reason_of(error)}") from None
        return composition.requires_grad_(False)

    def add_scale(self, scale: int, vectors: Tensor) -> Tensor:
        """What the vectors ``[B, side², d]`` of a scale add to the map, ``[B, d, h, w]``."""
        enlarged = vectors.transpose(1, 2).unflatten(2, (self.sides[scale], self.sides[scale]))
        if scale < len(self.sides) - 1:
            enlarged = F.interpolate(enlarged, size=(self.sides[-1], self.sides[-1]), mode="bicubic")
        filtered: Any = self.qresi_ls[FILTERS[scale]]
        return enlarged * 0.5 + filtered(enlarged) * 0.5

    def forward(self, vectors: Tensor) -> Tensor:
        """The map ``[B, d, h, w]`` of token vectors ``[B, P, d]``."""
        parts = [self.add_scale(scale, vectors[:, a:b]) for scale, (a, b) in enumerate(pairwise(self.ends))]
        return torch.stack(parts).sum(0)

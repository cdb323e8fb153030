"""Where the tokens of a grid stand in an image: tiles, or tiles of several scales (METHOD.md, sections 1 and 11)."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

COARSEST = 4  # rows and columns of the coarsest scale whose tokens are masked
ROUNDING = 1e-9


@dataclass(frozen=True)
class Layout:
    """Tokens of a grid as tiles of an image.

    Args:
        shape: (h, w) of the grid.
        scales: rows and columns of every scale, from coarse to fine, where the grid is one row of them; else empty.
    """

    shape: tuple[int, int]
    scales: tuple[int, ...] = ()

    @property
    def tilings(self) -> list[tuple[int, int]]:
        """Rows and columns of every scale; of the grid, where there is one."""
        return [(side, side) for side in self.scales] or [self.shape]

    @property
    def scale_of(self) -> NDArray[np.int64]:
        """The scale of every position, ``[P]``; 0 where there is one."""
        return np.repeat(np.arange(len(self.tilings)), [height * width for height, width in self.tilings])

    @property
    def maskable(self) -> NDArray[np.int64]:
        """Positions that masks may hide: all, but those of coarse scales."""
        fine = np.array([not self.scales or height >= COARSEST for height, _ in self.tilings])
        return np.flatnonzero(fine[self.scale_of])

    def cells(self, size: tuple[int, int]) -> NDArray[np.int64]:
        """The position that covers each pixel of an image of (H, W), by scale: ``[S, H, W]``."""
        starts, found = [0, *accumulate(height * width for height, width in self.tilings)], []
        for start, tiling in zip(starts, self.tilings, strict=False):
            row, column = ((2 * np.arange(n) + 1) * side // (2 * n) for n, side in zip(size, tiling, strict=True))
            found.append(start + row[:, None] * tiling[1] + column)
        return np.stack(found)

    def boxes(self, size: tuple[int, int]) -> NDArray[np.float64]:
        """Top, left, height and width of every position in an image of (H, W), ``[P, 4]``."""
        found = []
        for height, width in self.tilings:
            (row, column), tall, wide = np.indices((height, width)), size[0] / height, size[1] / width
            ones = np.ones_like(row)
            found.append(np.stack([row * tall, column * wide, ones * tall, ones * wide], axis=-1).reshape(-1, 4))
        return np.concatenate(found)

    def inside(self, rows: tuple[int, int], columns: tuple[int, int]) -> list[int]:
        """Positions within a window of the finest scale: rows and columns, each up to the one after the last."""
        box = self.boxes(self.tilings[-1])
        (top, bottom), (left, right) = rows, columns
        first = (box[:, 0] >= top - ROUNDING) & (box[:, 1] >= left - ROUNDING)
        last = (box[:, 0] + box[:, 2] <= bottom + ROUNDING) & (box[:, 1] + box[:, 3] <= right + ROUNDING)
        positions: list[int] = np.flatnonzero(first & last).tolist()
        return positions

    def heat(self, scores: NDArray[np.floating]) -> NDArray[np.floating]:
        """Scores ``[P]`` as the map ``[h, w]`` of the finest scale: the sum of those that cover a position's centre."""
        return scores[self.cells(self.tilings[-1])].sum(0)

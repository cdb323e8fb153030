"""3×3 convolutions with frozen weights, by Winograd's minimal filtering (Lavin and Gray, CVPR 2016).

A tile of 2×2 outputs is a function of 4×4 inputs. Inputs and kernel are brought into a space of 16 components, in which
the convolution is 16 products of matrices, channels by channels: 16 multiplications a tile, not 36. Tiles of 4×4 take
36, not 144. The way there and back is linear, along rows as along columns, so one matrix does each, which also knows
where a window begins and ends. Exact but for rounding.
"""

from functools import cache

import torch
from torch import Tensor

from cortex.fast import private_ops

Span = tuple[int, int]  # from the first row (or column) to before the last
Window = tuple[Span, Span]  # rows and columns

# By a tile's size: the matrices that bring its inputs to components, a kernel to components, and components to outputs.
# F(2, 3) for the points 0, ±1 and ∞; F(4, 3) for 0, ±1, ±2 and ∞.
MATRICES = {
    2: (
        torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
        torch.tensor([[2.0, 0, 0], [1, 1, 1], [1, -1, 1], [0, 0, 2]]) / 2,
        torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]]),
    ),
    4: (
        torch.tensor(
            [
                [4.0, 0, -5, 0, 1, 0],
                [0, -4, -4, 1, 1, 0],
                [0, 4, -4, -1, 1, 0],
                [0, -2, -1, 2, 1, 0],
                [0, 2, -1, -2, 1, 0],
                [0, 4, 0, -5, 0, 1],
            ]
        ),
        torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24,
        torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]),
    ),
}
READING = 6.5  # to read a component's matrix takes as long as to multiply so many tiles by it


class WinogradConvolution:
    """The convolution with one kernel, zeros around what it is given. It needs :mod:`cortex.fast.private_ops`.

    Args:
        kernel: ``[o, i, 3, 3]``.
    """

    def __init__(self, kernel: Tensor):
        self.kernel = kernel
        self.outputs, self.inputs = kernel.shape[:2]
        self._packed, self._packed_for = kernel, (0, 0)

    def __call__(self, x: Tensor, source: Window, target: Window) -> Tensor:
        """From what stands in a window of a map, ``[B, rows, columns, i]``, to another's ``[B, rows, columns, o]``."""
        batch, (rows, columns), (high, wide) = len(x), source, target
        height, width = high[1] - high[0], wide[1] - wide[0]
        size = tile_size(batch, height, width)
        parts, tall, broad = size + 2, -(-height // size), -(-width // size)  # components, and tiles
        x = to_tiles(size, high, rows) @ x.reshape(batch, x.shape[1], -1)
        x = to_tiles(size, wide, columns) @ x.view(batch * parts * tall, -1, self.inputs)
        x = x.view(batch, parts, tall, parts, broad, self.inputs).permute(0, 2, 4, 1, 3, 5)
        x = self._multiply(x.reshape(batch * tall * broad, -1), size)
        x = x.view(batch, tall, broad, parts, parts, self.outputs).permute(0, 3, 1, 4, 2, 5)
        x = from_tiles(size, wide) @ x.reshape(batch * parts * tall, parts * broad, self.outputs)
        x = from_tiles(size, high) @ x.view(batch, parts * tall, -1)
        return x.view(batch, height, width, self.outputs)

    def _multiply(self, x: Tensor, size: int) -> Tensor:
        """A product for every component, ``[n, components · i]`` to ``[n, components · o]``: a grouped 1×1 convolution.

        It is the one product of torch's that takes weights in the order in which oneDNN reads them; to bring them into
        it takes longer than to multiply a few tiles. The order depends on their number.
        """
        image = x.view(1, len(x), 1, -1).permute(0, 3, 1, 2)
        components = (size + 2) ** 2
        if self._packed_for != (size, len(x)):
            _, matrix, _ = MATRICES[size]
            weights = torch.einsum("ar,bs,oirs->aboi", matrix, matrix, self.kernel).reshape(-1, self.inputs, 1, 1)
            self._packed = private_ops.reorder_kernel(weights, components, image.shape)
            self._packed_for = size, len(x)
        y = private_ops.convolve(image, self._packed, components)
        return y.permute(0, 2, 3, 1).reshape(len(x), -1)


def tile_size(batch: int, height: int, width: int) -> int:
    """The faster of the two: larger tiles multiply less, but cover more than is wanted, and read more weights."""
    cost = {}
    for size in MATRICES:
        tiles = batch * -(-height // size) * -(-width // size)
        cost[size] = (size + 2) ** 2 * (tiles + READING)
    return min(cost, key=lambda size: cost[size])


@cache
def to_tiles(size: int, target: Span, source: Span) -> Tensor:
    """``[components · tiles, n]``: from the n rows of ``source`` to the components of every tile of ``target``."""
    to_components, _, _ = MATRICES[size]
    starts = range(target[0], target[1], size)
    matrix = torch.zeros(size + 2, len(starts), source[1] - source[0])
    for tile, start in enumerate(starts):
        for place in range(size + 2):
            row = start - 1 + place
            if source[0] <= row < source[1]:
                matrix[:, tile, row - source[0]] = to_components[:, place]
    return matrix.flatten(0, 1)


@cache
def from_tiles(size: int, target: Span) -> Tensor:
    """``[n, components · tiles]``: from the components of its tiles to the n rows of ``target``."""
    _, _, from_components = MATRICES[size]
    count = len(range(*target, size))
    matrix = torch.einsum("ra,tu->trau", from_components, torch.eye(count)).flatten(2).flatten(0, 1)
    return matrix[: target[1] - target[0]].contiguous()

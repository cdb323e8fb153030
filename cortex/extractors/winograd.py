"""3×3 convolutions with frozen weights, by Winograd's minimal filtering F(2×2, 3×3) (Lavin and Gray, CVPR 2016).

A tile of 2×2 outputs is a function of 4×4 inputs. Tiles and kernels are brought into a space of 16 components, in
which the convolution is 16 products of matrices, channels by channels: 16 multiplications a tile, not 36. The way
there and back is linear, along rows and columns alike, so a matrix does it, which can also leave out positions,
or pad them with zeros. Exact but for rounding, of the size of the plain convolution's own.
"""

from functools import cache

import torch
from torch import Tensor

Span = tuple[int, int]  # from the first row (or column) to before the last
Window = tuple[Span, Span]  # rows and columns

TO_INPUT = torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
TO_KERNEL = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
TO_OUTPUT = torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])


class Filter:
    """The convolution with one kernel, zeros around what it is given. On a CPU, in float32.

    Args:
        kernel: ``[o, i, 3, 3]``.
    """

    def __init__(self, kernel: Tensor):
        self.kernel = kernel
        self.outputs, self.inputs = kernel.shape[:2]
        self._packed, self._packed_for = kernel, 0

    def __call__(self, x: Tensor, source: Window, target: Window) -> Tensor:
        """From what stands in a window of a map, ``[B, rows, columns, i]``, to another's ``[B, rows, columns, o]``."""
        batch, (rows, columns), (high, wide) = len(x), source, target
        tall, broad = tiles(high), tiles(wide)
        x = to_tiles(high, rows) @ x.reshape(batch, x.shape[1], -1)
        x = to_tiles(wide, columns) @ x.view(batch * 4 * tall, -1, self.inputs)
        x = x.view(batch, 4, tall, 4, broad, self.inputs).permute(0, 2, 4, 1, 3, 5)
        x = self._multiply(x.reshape(batch * tall * broad, 16 * self.inputs))
        x = x.view(batch, tall, broad, 4, 4, self.outputs).permute(0, 3, 1, 4, 2, 5)
        x = from_tiles(wide) @ x.reshape(batch * 4 * tall, 4 * broad, self.outputs)
        x = from_tiles(high) @ x.view(batch, 4 * tall, -1)
        return x.view(batch, high[1] - high[0], wide[1] - wide[0], self.outputs)

    def _multiply(self, x: Tensor) -> Tensor:
        """The 16 products, ``[n, 16 · i]`` to ``[n, 16 · o]``, as one grouped 1×1 convolution of oneDNN.

        It is the one product of torch's that takes weights in the order in which the processor reads them; to bring
        them into it takes longer than to multiply a few tiles. The order depends on their number.
        """
        image = x.view(1, len(x), 1, -1).permute(0, 3, 1, 2)
        none, one = [0, 0], [1, 1]
        if self._packed_for != len(x):
            components = torch.einsum("ar,bs,oirs->aboi", TO_KERNEL, TO_KERNEL, self.kernel)
            weights = components.reshape(16 * self.outputs, self.inputs, 1, 1)
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(weights, none, one, one, 16, image.shape)
            self._packed_for = len(x)
        y = torch.ops.mkldnn._convolution_pointwise(image, self._packed, None, none, one, one, 16, "none", [], "")
        return y.permute(0, 2, 3, 1).reshape(len(x), -1)


def tiles(target: Span) -> int:
    """Tiles of two that cover a span."""
    return (target[1] - target[0] + 1) // 2


@cache
def to_tiles(target: Span, source: Span) -> Tensor:
    """``[4 · tiles, n]``: from the n rows of ``source`` to the four components of every tile of ``target``."""
    count = tiles(target)
    matrix = torch.zeros(4, count, source[1] - source[0])
    for tile in range(count):
        for place in range(4):
            row = target[0] + 2 * tile - 1 + place
            if source[0] <= row < source[1]:
                matrix[:, tile, row - source[0]] = TO_INPUT[:, place]
    return matrix.flatten(0, 1)


@cache
def from_tiles(target: Span) -> Tensor:
    """``[n, 4 · tiles]``: from the components of its tiles to the n rows of ``target``."""
    count = tiles(target)
    matrix = torch.einsum("ra,tu->trau", TO_OUTPUT, torch.eye(count)).reshape(2 * count, 4 * count)
    return matrix[: target[1] - target[0]].contiguous()

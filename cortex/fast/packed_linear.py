"""Products of a few rows with large frozen matrices, which on a CPU are bound by reading the matrix.

torch's own product reads it at a third to three quarters of the rate that the memory has, on one core of several;
oneDNN's, which wants the matrix in an order of its own, at nearly all of it, on all.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# Operators that torch's compiler uses for frozen weights; they are not part of its public interface.
AVAILABLE = torch.backends.mkldnn.is_available() and all(
    hasattr(torch.ops.mkldnn, name)
    for name in ("_reorder_convolution_weight", "_convolution_pointwise", "_reorder_linear_weight", "_linear_pointwise")
)
LARGE = 1 << 17  # numbers of a matrix from which on the order pays


class PackedLinear:
    """``x @ matrix.T + bias`` for one matrix and many x.

    Args:
        matrix: ``[o, i]``; it is not to change any more.
        bias: ``[o]``.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None = None):
        self.matrix, self.bias = matrix, bias
        self.packs = AVAILABLE and packable(matrix) and matrix.numel() >= LARGE
        self._packed, self._packed_for = matrix, 0

    def __call__(self, x: Tensor) -> Tensor:
        """``[n, o]`` of ``[n, i]``."""
        if not self.packs or torch.compiler.is_compiling():
            return F.linear(x, self.matrix, self.bias)
        if self._packed_for != len(x):  # the order depends on it
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self.matrix.contiguous(), len(x))
            self._packed_for = len(x)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        return product


def packable(weights: Tensor) -> bool:
    """Whether oneDNN has an order of its own for them."""
    return weights.device.type == "cpu" and weights.dtype == torch.float32

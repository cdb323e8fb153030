"""Products of a few rows with large frozen matrices, which on a CPU are bound by reading the matrix.

torch's own product reads it at a third to three quarters of the rate that the memory has, on one core of several;
oneDNN's, which wants the matrix in an order of its own, at nearly all of it, on all.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from cortex.fast import private_ops

LARGE = 1 << 17  # numbers of a matrix from which on the order pays


class PackedLinear:
    """``x @ matrix.T + bias`` for one matrix and many x.

    Args:
        matrix: ``[o, i]``; it is not to change any more.
        bias: ``[o]``.
    """

    def __init__(self, matrix: Tensor, bias: Tensor | None = None):
        self.matrix, self.bias = matrix, bias
        self.packs = matrix.numel() >= LARGE and private_ops.usable(matrix)
        self._packed, self._packed_for = matrix, 0

    def __call__(self, x: Tensor) -> Tensor:
        """``[n, o]`` of ``[n, i]``."""
        if not self.packs or torch.compiler.is_compiling():
            return F.linear(x, self.matrix, self.bias)
        if self._packed_for != len(x):  # the order depends on it
            self._packed = private_ops.reorder_matrix(self.matrix.contiguous(), len(x))
            self._packed_for = len(x)
        return private_ops.multiply(x, self._packed, self.bias)

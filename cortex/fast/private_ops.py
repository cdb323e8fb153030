"""torch's private operators, behind one seam: no other module names them.

torch's compiler uses oneDNN's products with weights in oneDNN's own order. No public function reaches them, and a
release of torch may remove or change them. :func:`usable` therefore tests them at first use; its callers use torch's
public functions where the test fails. All tensors are float32, on the CPU.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

log = logging.getLogger(__name__)


def usable(weights: Tensor) -> bool:
    """Whether the functions of this module take such weights, and work with this torch."""
    return weights.device.type == "cpu" and weights.dtype == torch.float32 and available()


def reorder_matrix(matrix: Tensor, rows: int) -> Tensor:
    """``[o, i]`` in the order in which :func:`multiply` reads it fastest for inputs of so many rows."""
    return _operator("_reorder_linear_weight")(matrix, rows)


def multiply(x: Tensor, reordered: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ matrix.T + bias``: ``[n, o]`` of ``[n, i]`` and a matrix reordered for n rows."""
    return _operator("_linear_pointwise")(x, reordered, bias, "none", [], "")


def reorder_kernel(kernel: Tensor, groups: int, image_shape: Sequence[int]) -> Tensor:
    """``[groups · o, i, 1, 1]`` in the order in which :func:`convolve` reads it fastest for images of the shape."""
    return _operator("_reorder_convolution_weight")(kernel, [0, 0], [1, 1], [1, 1], groups, image_shape)


def convolve(image: Tensor, reordered: Tensor, groups: int) -> Tensor:
    """A 1×1 convolution: ``[B, groups · o, h, w]`` of ``[B, groups · i, h, w]`` and a kernel reordered for it."""
    return _operator("_convolution_pointwise")(image, reordered, None, [0, 0], [1, 1], [1, 1], groups, "none", [], "")


def _operator(name: str) -> Any:
    return getattr(torch.ops.mkldnn, name)


@cache
def available() -> bool:
    """Whether every operator exists and agrees with torch's public function on a small input; tested once."""
    try:
        with torch.no_grad(), torch.autocast("cpu", enabled=False):
            wrong = _wrong_result()
    except Exception as error:  # a private function may fail in any way
        wrong = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if wrong:
        log.info("torch %s: its public functions are used instead of oneDNN's products: %s", torch.__version__, wrong)
    return not wrong


def _wrong_result() -> str:
    """The product whose result differs from that of torch's public function by more than rounding; "" if none does."""
    if not torch.backends.mkldnn.is_available():
        return "torch was built without oneDNN"
    numbers = torch.linspace(-1, 1, 97, dtype=torch.float32, device="cpu").sin()
    matrix, bias, x = numbers[:48].view(6, 8), numbers[48:54], numbers[54:78].view(3, 8)
    for added in (None, bias):
        found = multiply(x, reorder_matrix(matrix, len(x)), added)
        if not _close(found, F.linear(x, matrix, added)):
            return "the product with a matrix is wrong"
    kernel = numbers[:48].view(12, 4, 1, 1)
    image = numbers[48:88].view(1, 5, 1, 8).permute(0, 3, 1, 2)
    found = convolve(image, reorder_kernel(kernel, 2, image.shape), 2)
    return "" if _close(found, F.conv2d(image, kernel, groups=2)) else "the 1×1 convolution is wrong"


def _close(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-5, atol=1e-5)

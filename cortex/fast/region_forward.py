"""A convolutional network as a function of one region of its input, all else fixed: the rest of the input, and weights.

What a change can reach grows by one position to every side with every 3×3 convolution. Before the first pool only that
window is computed, forward and backward; what flows into it from elsewhere is computed once. Of the last layer, only
what leads to the logits that are asked for is.
"""

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from cortex.fast import packed_linear as products
from cortex.fast.packed_linear import PackedLinear
from cortex.fast.winograd import Filter, Span, Window

# Channels from which on minimal filtering is faster on a CPU; the libraries of GPUs choose by themselves.
FILTERED = 256
Step = Callable[[Tensor], Tensor]


@runtime_checkable
class Convolutional(Protocol):
    """3×3 convolutions of stride 1, each with its norm and a ReLU, 2×2 max-pools after some; then connected layers."""

    def convolutions(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d, bool]]:
        """Every convolution, its norm, and whether a pool follows; at least one does."""

    def connected(self) -> Iterator[tuple[nn.Linear, nn.BatchNorm1d]]:
        """Every fully connected layer but the last, with its norm, after which comes a ReLU."""

    def last(self) -> nn.Linear:
        """The layer that gives the logits."""


class RegionForward:
    """A convolutional network, prepared for :meth:`around`.

    Args:
        network: in eval mode, its weights without gradients; they are not to change any more.
    """

    def __init__(self, network: Convolutional):
        self.layers = [(Convolution(convolution, norm), pooled) for convolution, norm, pooled in network.convolutions()]
        self.hidden = [Connected(linear, norm) for linear, norm in network.connected()]
        self.last = network.last()

    @torch.no_grad()
    def around(self, embeddings: Tensor, region: Window, targets: Tensor) -> Step:
        """The logits ``[B]`` of the targets as a function of the region's embeddings ``[B, rows, columns, d]``.

        Args:
            embeddings: ``[B, d, h, w]``, fixed outside of the region.
            region: its rows and columns.
            targets: a class for every image, int64 ``[B]``.
        """
        steps: list[Step] = []
        x, window = embeddings, region
        for convolution, pooled in self.layers:
            reached = _grown(window[0], x.shape[2]), _grown(window[1], x.shape[3])
            steps.append(convolution.within(x, window, reached))
            x, window = F.relu(convolution(x)), reached
            if pooled:
                steps.append(_pool_with(x, window))
                x = F.max_pool2d(x, 2)
                window = (0, x.shape[2]), (0, x.shape[3])
        weight, bias = self.last.weight[targets], self.last.bias[targets]

        def logits(inside: Tensor) -> Tensor:
            for step in steps:
                inside = step(inside)
            features = inside.permute(0, 3, 1, 2).flatten(1)
            for layer in self.hidden:
                features = layer(features)
            return (features * weight).sum(1) + bias

        return logits


class Convolution:
    """A frozen 3×3 convolution with its norm folded in."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d):
        fused = fuse_conv_bn_eval(convolution, norm)
        self.kernel, self.bias = fused.weight, fused.bias
        self.filters = None
        if products.AVAILABLE and products.packable(self.kernel) and min(self.kernel.shape[:2]) >= FILTERED:
            # The gradient of a convolution is the convolution with the kernel turned about, from outputs to inputs.
            self.filters = Filter(self.kernel), Filter(self.kernel.flip(2, 3).transpose(0, 1))

    def __call__(self, x: Tensor) -> Tensor:
        """``[B, o, h, w]`` of ``[B, i, h, w]``."""
        return F.conv2d(x, self.kernel, self.bias, padding=1)

    def within(self, x: Tensor, source: Window, target: Window) -> Step:
        """The convolution and a ReLU, from what stands in ``source`` to what comes to stand in ``target``.

        Args:
            x: ``[B, i, h, w]``, fixed outside of ``source``.
            source: a window of it.
            target: all that it reaches.

        Returns:
            A function of ``[B, rows, columns, i]`` with values ``[B, rows, columns, o]``.
        """
        elsewhere = x.clone()
        _part(elsewhere, source).zero_()
        fixed = _part(self(elsewhere), target).permute(0, 2, 3, 1).contiguous()

        def step(inside: Tensor) -> Tensor:
            if self.filters is None:
                return (self._plain(inside, source, target) + fixed).relu_()
            return (_Filtered.apply(inside, *self.filters, source, target) + fixed).relu_()

        return step

    def _plain(self, inside: Tensor, source: Window, target: Window) -> Tensor:
        """What comes to stand in ``target``, of what stands in ``source`` alone."""
        (top, bottom), (left, right) = (
            (of[0] - to[0] + 1, to[1] - of[1] + 1) for of, to in zip(source, target, strict=True)
        )  # rows and columns of zeros: one, and one more on each side to which the target goes further
        padded = F.pad(inside.permute(0, 3, 1, 2), (left, right, top, bottom))
        return F.conv2d(padded, self.kernel).permute(0, 2, 3, 1)


class Connected:
    """A frozen fully connected layer with its norm folded in, and a ReLU."""

    def __init__(self, linear: nn.Linear, norm: nn.BatchNorm1d):
        fused = fuse_linear_bn_eval(linear, norm)
        self.bias = fused.bias
        self.forth, self.back = PackedLinear(fused.weight), PackedLinear(fused.weight.T)

    def __call__(self, x: Tensor) -> Tensor:
        """``[B, o]`` of ``[B, i]``."""
        return (_Multiplied.apply(x, self.forth, self.back) + self.bias).relu_()


class _Multiplied(torch.autograd.Function):
    """A product with one matrix, whose gradient is that with it transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, forth: PackedLinear, back: PackedLinear) -> Tensor:
        ctx.back = back
        return forth(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None


class _Filtered(torch.autograd.Function):
    """A convolution by one filter, whose gradient is that by the turned one, back from the target to the source."""

    @staticmethod
    def forward(ctx: Any, inside: Tensor, forth: Filter, back: Filter, source: Window, target: Window) -> Tensor:
        ctx.back, ctx.source, ctx.target = back, source, target
        return forth(inside, source, target)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.back(gradient, ctx.target, ctx.source), None, None, None, None


def _pool_with(x: Tensor, window: Window) -> Step:
    """A 2×2 max-pool of ``x [B, c, h, w]`` as a function of what stands in a window, ``[B, rows, columns, c]``."""
    fixed = x.permute(0, 2, 3, 1).contiguous()
    rows, columns = (slice(*span) for span in window)

    def step(inside: Tensor) -> Tensor:
        whole = fixed.clone()
        whole[:, rows, columns] = inside
        return F.max_pool2d(whole.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    return step


def _part(x: Tensor, window: Window) -> Tensor:
    """What stands in a window of ``[B, c, h, w]``."""
    return x[:, :, slice(*window[0]), slice(*window[1])]


def _grown(span: Span, size: int) -> Span:
    """One position further to both sides, as far as there are any."""
    return max(span[0] - 1, 0), min(span[1] + 1, size)

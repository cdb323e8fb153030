"""A convolutional network as a function of one region of its input, all else fixed: the rest of the input, and weights.

What a change can reach grows by one position to every side with every 3×3 convolution. Before the first pool only that
window is computed, forward and backward; what flows into it from elsewhere is computed once. Of the last layer, only
what leads to the logits that are asked for is.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from cortex.fast import private_ops
from cortex.fast.packed_linear import PackedLinear
from cortex.fast.winograd import Span, Window, WinogradConvolution

# Channels from which on minimal filtering is faster on a CPU; the libraries of GPUs choose by themselves.
FILTERED = 256
Step = Callable[[Tensor], Tensor]


# Layers as letters: convolution, norm and ReLU, with a pool after some of them and at least after one; then connected
# layers, with norm and ReLU each, and the layer that gives the logits. Dropout (d) does nothing in eval mode.
CONVOLUTIONAL = re.compile(r"(cnr)+p(cnrp?)*f(lmrd?)+l")


def is_convolutional(network: nn.Module) -> bool:
    """Whether a network is what :class:`RegionForward` takes: an ``nn.Sequential`` of 3×3 convolutions of stride 1,
    each with its norm and a ReLU, 2×2 max-pools after some, then fully connected layers."""
    plain = type(network).forward is nn.Sequential.forward
    return plain and CONVOLUTIONAL.fullmatch("".join(map(_letter, network.children()))) is not None


def _letter(layer: nn.Module) -> str:
    """The kind of a layer, as :data:`CONVOLUTIONAL` writes it; ``?`` of one that is in no such network."""
    letter = "?"
    match layer:
        case nn.Conv2d(
            kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1, padding_mode="zeros"
        ):
            letter = "c"
        case nn.BatchNorm2d(track_running_stats=True):
            letter = "n"
        case nn.BatchNorm1d(track_running_stats=True):
            letter = "m"
        case nn.ReLU():
            letter = "r"
        case nn.MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False):
            letter = "p"
        case nn.Flatten(start_dim=1, end_dim=-1):
            letter = "f"
        case nn.Linear(bias=Tensor()):
            letter = "l"
        case nn.Dropout():
            letter = "d"
    return letter


class RegionForward:
    """A convolutional network, prepared for :meth:`target_logits`.

    Args:
        network: one that :func:`is_convolutional`, in eval mode, its weights without gradients; they are not to change
            any more.
    """

    def __init__(self, network: nn.Module):
        layers: list[Any] = [layer for layer in network.children() if not isinstance(layer, nn.ReLU | nn.Dropout)]
        self.layers = [
            (FusedConvolution(layer, norm), isinstance(after, nn.MaxPool2d))
            for layer, norm, after in zip(layers, layers[1:], layers[2:], strict=False)
            if isinstance(layer, nn.Conv2d)
        ]
        self.hidden = [FusedLinear(layer, norm) for layer, norm in pairwise(layers) if isinstance(layer, nn.Linear)]
        self.last = layers[-1]

    @torch.no_grad()
    def target_logits(self, embeddings: Tensor, region: Window, targets: Tensor) -> Step:
        """The logits ``[B]`` of the targets as a function of the region's embeddings ``[B, rows, columns, d]``.

        Args:
            embeddings: ``[B, d, h, w]``, fixed outside of the region.
            region: its rows and columns.
            targets: a class for every image, int64 ``[B]``.
        """
        steps: list[Step] = []
        x, window = embeddings, region
        for convolution, pooled in self.layers:
            reached = _grow(window[0], x.shape[2]), _grow(window[1], x.shape[3])
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


class FusedConvolution:
    """A frozen 3×3 convolution with its norm folded in."""

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d):
        fused = fuse_conv_bn_eval(convolution, norm)
        self.kernel, self.bias = fused.weight, fused.bias
        self.filters = None
        if min(self.kernel.shape[:2]) >= FILTERED and private_ops.usable(self.kernel):
            # The gradient of a convolution is the convolution with the kernel turned about, from outputs to inputs.
            self.filters = WinogradConvolution(self.kernel), WinogradConvolution(self.kernel.flip(2, 3).transpose(0, 1))

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
        _inside(elsewhere, source).zero_()
        fixed = _inside(self(elsewhere), target).permute(0, 2, 3, 1).contiguous()

        def step(inside: Tensor) -> Tensor:
            if self.filters is None:
                return (self._plain(inside, source, target) + fixed).relu_()
            return (_Winograd.apply(inside, *self.filters, source, target) + fixed).relu_()

        return step

    def _plain(self, inside: Tensor, source: Window, target: Window) -> Tensor:
        """What comes to stand in ``target``, of what stands in ``source`` alone."""
        (top, bottom), (left, right) = (
            (of[0] - to[0] + 1, to[1] - of[1] + 1) for of, to in zip(source, target, strict=True)
        )  # rows and columns of zeros: one, and one more on each side to which the target goes further
        padded = F.pad(inside.permute(0, 3, 1, 2), (left, right, top, bottom))
        return F.conv2d(padded, self.kernel).permute(0, 2, 3, 1)


class FusedLinear:
    """A frozen fully connected layer with its norm folded in, and a ReLU."""

    def __init__(self, linear: nn.Linear, norm: nn.BatchNorm1d):
        fused = fuse_linear_bn_eval(linear, norm)
        self.bias = fused.bias
        self.product, self.transposed = PackedLinear(fused.weight), PackedLinear(fused.weight.T)

    def __call__(self, x: Tensor) -> Tensor:
        """``[B, o]`` of ``[B, i]``."""
        return (_Product.apply(x, self.product, self.transposed) + self.bias).relu_()


class _Product(torch.autograd.Function):
    """A product with one matrix, whose gradient is that with it transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, product: PackedLinear, transposed: PackedLinear) -> Tensor:
        ctx.transposed = transposed
        return product(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.transposed(gradient), None, None


class _Winograd(torch.autograd.Function):
    """A convolution by one filter, whose gradient is that by the turned one, back from the target to the source."""

    @staticmethod
    def forward(
        ctx: Any,
        inside: Tensor,
        product: WinogradConvolution,
        transposed: WinogradConvolution,
        source: Window,
        target: Window,
    ) -> Tensor:
        ctx.transposed, ctx.source, ctx.target = transposed, source, target
        return product(inside, source, target)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.transposed(gradient, ctx.target, ctx.source), None, None, None, None


def _pool_with(x: Tensor, window: Window) -> Step:
    """A 2×2 max-pool of ``x [B, c, h, w]`` as a function of what stands in a window, ``[B, rows, columns, c]``."""
    fixed = x.permute(0, 2, 3, 1).contiguous()
    rows, columns = (slice(*span) for span in window)

    def step(inside: Tensor) -> Tensor:
        whole = fixed.clone()
        whole[:, rows, columns] = inside
        return F.max_pool2d(whole.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)

    return step


def _inside(x: Tensor, window: Window) -> Tensor:
    """What stands in a window of ``[B, c, h, w]``."""
    return x[:, :, slice(*window[0]), slice(*window[1])]


def _grow(span: Span, size: int) -> Span:
    """One position further to both sides, as far as there are any."""
    return max(span[0] - 1, 0), min(span[1] + 1, size)

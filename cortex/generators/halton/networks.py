"""Halton-MaskGIT's transformer and its order of positions (Besnier et al., 2025). Names are those of its authors.

It reads a whole grid, codes and masks, and a register after them. The class shifts, scales and gates every layer. The
embeddings of the codes are the last product, too.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.generators.llamagen.networks import EPSILON, FeedForward, Norm
from cortex.generators.network.adaptive import adaptive, modulate
from cortex.generators.network.masked import MaskedSampler
from cortex.generators.network.raster import Step
from cortex.generators.sampling import Sampling


class HaltonOrder:
    """Positions in the order of a Halton sequence, which spreads them over the image; more of them at every step."""

    def __init__(self, side: int):
        self.order = halton_order(side)

    def numbers(self, steps: int, positions: int) -> int:
        return 0

    def kept(self, step: int, masks: Tensor, confidence: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
        ends = [0, *(passed(done, sampling.steps or 1, masks.shape[1]) for done in range(1, step + 2))]
        now = torch.zeros_like(masks)
        now[:, self.order[ends[-2] : ends[-1]]] = True
        return now


def halton_order(side: int) -> list[int]:
    """Positions of a grid: the row by the sequence of base 2, the column by that of base 3, without repetitions."""
    found: dict[int, None] = {}
    point = 0
    while len(found) < side * side:
        point += 1
        row, column = (int(side * share // parts) for share, parts in (mirrored(point, 2), mirrored(point, 3)))
        found[row * side + column] = None
    return list(found)


def mirrored(number: int, base: int) -> tuple[int, int]:
    """A number's digits after the point, in reverse, as a fraction: of 6 in base 2, 0.011, it is (3, 8)."""
    share, parts = 0, 1
    while number:
        number, digit = divmod(number, base)
        share, parts = share * base + digit, parts * base
    return share, parts


def passed(done: int, steps: int, positions: int) -> int:
    """Positions that have their codes after some of the steps, as its authors compute it, in float32."""
    share = 1 - torch.arccos(torch.tensor(done / steps)) / (math.pi * 0.5)
    return min(max(done, int(share * positions)), positions)


class Attention(nn.Module):
    """Of all positions to all. Queries and keys are normalised, all heads together, without weights."""

    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.heads = heads
        self.wq = nn.Linear(width, inner, bias=False)
        self.wk = nn.Linear(width, inner, bias=False)
        self.wv = nn.Linear(width, inner, bias=False)
        self.wo = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value = self.wv(x)
        query, key = (F.rms_norm(part.float(), part.shape[-1:], eps=EPSILON) for part in (self.wq(x), self.wk(x)))
        heads = [part.to(value.dtype).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key, value)]
        return self.wo(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A layer; shift, scale and gate come in this order, attention's before the MLP's."""

    def __init__(self, width: int, heads: int, inner: int):
        super().__init__()
        self.mlp = adaptive(width, 6)
        self.ln1 = Norm(width)
        self.attn = Attention(width, heads, inner)
        self.ln2 = Norm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        """``[B, T, C]`` of ``[B, T, C]``; ``given`` are embedded classes ``[B, 1, C]``."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.mlp(given).chunk(6, dim=-1)
        x = x + gate1 * self.attn(modulate(self.ln1(x), shift1, scale1))
        return x + gate2 * self.ff(modulate(self.ln2(x), shift2, scale2))


class Layers(nn.Module):
    """All layers."""

    def __init__(self, layers: int, heads: int, width: int, inner: int):
        super().__init__()
        self.layers = nn.ModuleList(Block(width, heads, inner) for _ in range(layers))

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, given)
        return x


class BiasedNorm(Norm):
    """An RMSNorm with a bias."""

    def __init__(self, width: int):
        super().__init__(width)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.bias


class LastNorm(nn.Module):
    """The norm before the logits."""

    def __init__(self, width: int):
        super().__init__()
        self.norm_final = BiasedNorm(width)
        self.mlp = adaptive(width, 2)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        shift, scale = self.mlp(given).chunk(2, dim=-1)
        return modulate(self.norm_final(x), shift, scale)


class Head(nn.Module):
    """What the logits have beside the embeddings' product."""

    def __init__(self, logits: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(logits))


class HaltonTransformer(nn.Module):
    """The prior.

    Args:
        layers: how many.
        heads: of attention.
        width: C.
        inner: channels of the queries, keys and values of all heads.
        registers: words after the grid, which are no tokens.
        side: rows and columns of a grid.
        codes: K.
        classes: those that it knows; the index after the last is the null class.
    """

    def __init__(
        self, layers: int, heads: int, width: int, inner: int, registers: int, side: int, codes: int, classes: int
    ):
        super().__init__()
        self.side, self.positions, self.codes = side, side * side, codes
        self.cls_emb = nn.Embedding(classes + 1, width)
        self.tok_emb = nn.Embedding(codes + 1, width)
        self.pos_emb = nn.Embedding(side * side, width)
        self.reg_tokens = nn.Embedding(registers, width)
        self.transformer = Layers(layers, heads, width, inner)
        self.last_norm = LastNorm(width)
        self.head = Head(codes + 1)

    def logits(self, classes: Tensor, tokens: Tensor, precision: torch.dtype) -> Tensor:
        """See :class:`cortex.generators.network.masked.MaskedNetwork`."""
        given, known = self.cls_emb(classes)[:, None], self.tok_emb.weight
        registers: Any = self.reg_tokens.weight
        x = torch.cat([F.embedding(tokens, known) + self.pos_emb.weight, registers.expand(len(tokens), -1, -1)], dim=1)
        with torch.autocast(tokens.device.type, precision, enabled=precision == torch.bfloat16):
            x = self.transformer(x, given)
        x = self.last_norm(x[:, : self.positions].to(known.dtype), given)
        return F.linear(x, known, self.head.bias)

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> MaskedSampler:
        """The network's sampler; its steps are always done operation by operation."""
        return MaskedSampler(self, HaltonOrder(self.side), precision, null_class)

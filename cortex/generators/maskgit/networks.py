"""MaskGIT-pytorch's transformer: it reads a whole grid, codes and masks, and the class after them.

Names are those of its authors (Besnier and Chen, 2023). The embeddings of the codes are the last product, too.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.generators.network.masked import MaskedSampler, MostConfident
from cortex.generators.network.raster import Step


class Projections(nn.Module):
    """The weights of a ``torch.nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C]`` of ``[B, T, C]``."""
        projected = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = projected.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out_proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class Attention(nn.Module):
    """Of all positions to all."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.mha = Projections(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        return self.mha(x)


class Mlp(nn.Module):
    """Two layers. The third module of the list has no weights: in training, it was a dropout."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class PreNorm(nn.Module):
    """What a part of a layer adds."""

    def __init__(self, width: int, part: nn.Module):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = part

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class Layers(nn.Module):
    """All layers."""

    def __init__(self, layers: int, heads: int, width: int, hidden: int):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(PreNorm(width, Attention(width, heads)), PreNorm(width, Mlp(width, hidden)))
            for _ in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def narrow_norm(width: int) -> nn.LayerNorm:
    """A norm of the first and last layers."""
    return nn.LayerNorm(width, eps=1e-12)


class MaskTransformer(nn.Module):
    """The prior. One table embeds the codes, the mask, the classes, and the null class.

    Args:
        layers: how many.
        heads: of attention.
        width: C.
        hidden: units of an MLP.
        side: rows and columns of a grid.
        codes: K.
        classes: those that it knows; the index after the last is the null class.
    """

    def __init__(self, layers: int, heads: int, width: int, hidden: int, side: int, codes: int, classes: int):
        super().__init__()
        self.positions, self.codes = side * side, codes
        words = codes + 1 + classes + 1
        self.tok_emb = nn.Embedding(words, width)
        self.pos_emb = nn.Parameter(torch.zeros(1, side * side + 1, width))
        self.bias = nn.Parameter(torch.zeros(side * side + 1, words))
        first: list[nn.Module] = [narrow_norm(width), nn.Identity(), nn.Linear(width, width), nn.GELU()]
        self.first_layer = nn.Sequential(*first, narrow_norm(width), nn.Identity(), nn.Linear(width, width))
        self.transformer = Layers(layers, heads, width, hidden)
        last: list[nn.Module] = [narrow_norm(width), nn.Identity(), nn.Linear(width, width), nn.GELU()]
        self.last_layer = nn.Sequential(*last, narrow_norm(width))

    def logits(self, classes: Tensor, tokens: Tensor, precision: torch.dtype) -> Tensor:
        """See :class:`cortex.generators.network.masked.MaskedNetwork`."""
        words = torch.cat([tokens, classes[:, None] + self.codes + 1], dim=1)
        with torch.autocast(tokens.device.type, precision, enabled=precision == torch.bfloat16):
            x = self.transformer(self.first_layer(self.tok_emb(words) + self.pos_emb))
            x = self.last_layer(x[:, :-1])
        known: Any = self.tok_emb.weight
        return F.linear(x.to(known.dtype), known[: self.codes + 1]) + self.bias[:-1, : self.codes + 1]

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> MaskedSampler:
        """The network's sampler; its steps are always done operation by operation."""
        return MaskedSampler(self, MostConfident(), precision, null_class)

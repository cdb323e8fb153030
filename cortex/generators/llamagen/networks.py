"""LlamaGen's transformer: as for language, with two-dimensional rotary positions. Names are those of its authors.

A class's embedding stands first, and the codes' follow. RMSNorm before every part, SwiGLU, no biases. Queries and keys
rotate by row and column of the grid's position; those of the class are zero (Sun et al.'s table holds cos = sin = 0
there): later tokens give it the weight of a logit of 0.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.fast.packed_linear import PackedLinear
from cortex.generators.llamagen.sizes import hidden_units
from cortex.generators.network.raster import RasterSampler, Step

EPSILON = 1e-5
BASE = 10_000.0


def rotations(side: int, channels: int, like: Tensor) -> Tensor:
    """Cosine and sine of the angle of every pair of a head's channels, ``[1 + side², channels / 2, 2]``.

    The first half of the pairs rotate by the row, the others by the column. The first position is the class's: zeros.
    """
    frequencies = BASE ** (-torch.arange(channels // 4, dtype=torch.float64) * 4 / channels)
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    rows, columns = angles[:, None].expand(-1, side, -1), angles[None].expand(side, -1, -1)
    grid = torch.cat([rows, columns], dim=-1).flatten(0, 1)
    table = torch.stack([grid.cos(), grid.sin()], dim=-1)
    return torch.cat([torch.zeros_like(table[:1]), table]).to(like)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Pairs of neighbouring channels of ``[..., c]``, rotated by ``[..., c / 2, 2]`` in the rotation's precision."""
    first, second = x.to(rotation.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotation.unbind(-1)
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(-2).to(x.dtype)


def normalise(x: Tensor, weight: Tensor) -> Tensor:
    """RMSNorm."""
    return F.rms_norm(x, x.shape[-1:], weight, EPSILON)


class Norm(nn.Module):
    """The weight of an RMSNorm."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return normalise(x, self.weight)


class Attention(nn.Module):
    """Causal attention; query, key and value are one product."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.wqkv = nn.Linear(width, 3 * width, bias=False)
        self.wo = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        """``[B, T, C]`` of ``[B, T, C]``; ``rotation`` is that of the T positions."""
        query, key, value = self.wqkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(rotate(query, rotation), rotate(key, rotation), value, is_causal=True)
        return self.wo(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, width: int):
        super().__init__()
        hidden = hidden_units(width)
        self.w1 = nn.Linear(width, hidden, bias=False)
        self.w3 = nn.Linear(width, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """A layer."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = Attention(width, heads)
        self.feed_forward = FeedForward(width)
        self.attention_norm = Norm(width)
        self.ffn_norm = Norm(width)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rotation)
        return x + self.feed_forward(self.ffn_norm(x))


class ClassEmbedding(nn.Module):
    """A vector for every class, and for none."""

    def __init__(self, classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)

    def forward(self, classes: Tensor) -> Tensor:
        return self.embedding_table(classes)


class LlamaTransformer(nn.Module):
    """The prior.

    Args:
        layers: how many.
        heads: of attention.
        width: C.
        side: rows and columns of a grid.
        codes: K.
        classes: those that it knows; the index after the last is the null class.
    """

    def __init__(self, layers: int, heads: int, width: int, side: int, codes: int, classes: int):
        super().__init__()
        self.heads, self.width, self.side = heads, width, side
        self.cls_embedding = ClassEmbedding(classes, width)
        self.tok_embeddings = nn.Embedding(codes, width)
        self.layers = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = Norm(width)
        self.output = nn.Linear(width, codes, bias=False)

    def rotations(self) -> Tensor:
        """Of all positions; see :func:`rotations`."""
        return rotations(self.side, self.width // self.heads, self.norm.weight)

    def all_logits(self, classes: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, n + 1, K]`` of the tokens at positions 0 to n, given the classes and n tokens ``[B, n]``."""
        x = torch.cat([self.cls_embedding(classes)[:, None], self.tok_embeddings(tokens)], dim=1)
        rotation = self.rotations()[: x.shape[1]]
        for layer in self.layers:
            x = layer(x, rotation)
        return self.output(self.norm(x))

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> RasterSampler:
        """The network's sampler; its large products are converted in place."""
        return RasterSampler(LlamaSteps(self, precision), how, null_class)


class Layer(NamedTuple):
    """A layer's products, and the weights of its norms."""

    attention_norm: Tensor
    projections: PackedLinear
    output: PackedLinear
    mlp_norm: Tensor
    up: PackedLinear  # gate and value as one product
    down: PackedLinear


class LlamaSteps:
    """The network a token at a time; see :class:`cortex.generators.network.raster.TokenSteps`.

    Args:
        network: in eval mode. Its attention and MLPs are converted to ``precision`` in place.
        precision: float32 or bfloat16, of the large products and the cache.
    """

    lead = 0

    def __init__(self, network: LlamaTransformer, precision: torch.dtype = torch.float32):
        self.network, self.precision = network, precision
        blocks: Iterable[Any] = network.layers
        self.layers = [prepared(block, precision) for block in blocks]
        self.heads, self.channels = network.heads, network.width // network.heads
        self.pass_layer = pass_layer
        self.embed_classes, self.embed_tokens = network.cls_embedding, network.tok_embeddings
        self.table = network.rotations()

    def begin(self, embedded: Tensor, classes: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        return embedded, self.table.index_select(0, position)

    def logits(self, x: Tensor, beside: Tensor) -> Tensor:
        return self.network.output(self.network.norm(x))


def pass_layer(
    x: Tensor, layer: Layer, cache: Tensor, position: Tensor, seen: int, bias: Tensor | None, rotation: Tensor
) -> Tensor:
    """A token's way through a layer; see :class:`cortex.generators.network.raster.TokenSteps`."""
    normal = normalise(x, layer.attention_norm).to(cache.dtype)
    x = x + attend(normal, layer, cache, position, seen, bias, rotation)
    return x + feed(normalise(x, layer.mlp_norm).to(cache.dtype), layer)


def attend(
    normal: Tensor, layer: Layer, cache: Tensor, position: Tensor, seen: int, bias: Tensor | None, rotation: Tensor
) -> Tensor:
    """What attention adds to a token, in the cache's precision."""
    batch, width = normal.shape
    _, _, heads, _, channels = cache.shape
    query, key, value = layer.projections(normal).view(batch, 3, heads, 1, channels).unbind(1)
    cache[0].index_copy_(2, position, rotate(key, rotation))
    cache[1].index_copy_(2, position, value)
    mixed = F.scaled_dot_product_attention(
        rotate(query, rotation), cache[0, :, :, :seen], cache[1, :, :, :seen], attn_mask=bias
    )
    return layer.output(mixed.reshape(batch, width))


def feed(normal: Tensor, layer: Layer) -> Tensor:
    """What the MLP adds to a token."""
    gate, value = layer.up(normal).chunk(2, dim=1)
    return layer.down(F.silu(gate) * value)


def prepared(block: Block, precision: torch.dtype) -> Layer:
    """The weights of a :class:`Block`, its products converted in place; gate and value become parts of one matrix."""
    attention, mlp = block.attention.to(precision), block.feed_forward.to(precision)
    up = torch.cat([mlp.w1.weight.detach(), mlp.w3.weight.detach()])
    mlp.w1.weight.data, mlp.w3.weight.data = up.chunk(2)
    return Layer(
        attention_norm=block.attention_norm.weight.detach(),
        projections=PackedLinear(attention.wqkv.weight.detach()),
        output=PackedLinear(attention.wo.weight.detach()),
        mlp_norm=block.ffn_norm.weight.detach(),
        up=PackedLinear(up),
        down=PackedLinear(mlp.w2.weight.detach()),
    )

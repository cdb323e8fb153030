"""RAR's transformer: a causal one, whose norms the class and the place in the sequence modulate (Yu et al., 2024).

Names are those of its authors. A vector of its own begins the sequence, the class's embedding follows, and then the
codes'. Every input but the first also states the place of the token to draw next: the network learned any order.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.fast.packed_linear import PackedLinear
from cortex.generators.network.adaptive import adaptive, modulate
from cortex.generators.network.raster import RasterSampler, Step

EPSILON = 1e-6
PLACES, TIMES = 1024, 100  # more entries of both tables of positions, and of the table of steps, than tokens


class Attention(nn.Module):
    """Causal attention. Queries and keys are normalised, every head's."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads, eps=EPSILON)
        self.k_norm = nn.LayerNorm(width // heads, eps=EPSILON)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[B, T, C]`` of ``[B, T, C]``."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(self.q_norm(query), self.k_norm(key), value, is_causal=True)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A layer; shift, scale and gate come in this order, attention's before the MLP's."""

    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Mlp(width, hidden)
        self.adaLN_modulation = adaptive(width, 6)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """``[B, T, C]`` of ``[B, T, C]``, both."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.adaLN_modulation(condition).chunk(6, dim=-1)
        x = x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1))
        return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))


class Head(nn.Module):
    """The norm before the logits; here the scale comes before the shift."""

    def __init__(self, width: int):
        super().__init__()
        self.adaLN_modulation = adaptive(width, 2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return modulate(F.layer_norm(x, x.shape[-1:], eps=EPSILON), shift, scale)


class RarTransformer(nn.Module):
    """The prior. One table embeds the codes, a mask that sampling never uses, the classes, and the null class.

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
        self.heads, self.width, self.tokens, self.codes = heads, width, side * side, codes
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, self.tokens + PLACES, width))
        self.target_aware_pos_embed = nn.Parameter(torch.zeros(1, self.tokens + PLACES, width))
        self.timesteps_embeddings = nn.Parameter(torch.zeros(1, self.tokens + TIMES, width))
        self.embeddings = nn.Embedding(codes + 1 + classes + 1, width)
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(layers))
        self.adaln_before_head = Head(width)
        self.lm_head = nn.Linear(width, codes)

    def embed_classes(self, classes: Tensor) -> Tensor:
        """Embeddings ``[B, C]`` of classes ``[B]``."""
        return self.embeddings(classes + self.codes + 1)

    def places(self) -> Tensor:
        """What every input of the sequence is told of its place and of the next token's, ``[1 + P, C]``.

        The class, at place 1, comes before the token of place 2, and so on: the first two places are no tokens'.
        """
        own, target = self.pos_embed[0], self.target_aware_pos_embed[0]
        last = self.tokens + 1
        return own[:last] + torch.cat([torch.zeros_like(target[:1]), target[2 : last + 1]])

    def all_logits(self, classes: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, n + 1, K]`` of the tokens at positions 0 to n, given the classes and n tokens ``[B, n]``."""
        given = self.embed_classes(classes)[:, None]
        x = torch.cat([self.cls_token.expand_as(given), given, self.embeddings(tokens)], dim=1)
        length = x.shape[1]
        x, condition = x + self.places()[:length], given + self.timesteps_embeddings[:, :length]
        for block in self.blocks:
            x = block(x, condition)
        return self.lm_head(self.adaln_before_head(x[:, 1:], condition[:, 1:]))

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> RasterSampler:
        """The network's sampler; its large products are converted in place."""
        return RasterSampler(RarSteps(self, precision), how, null_class)


class Layer(NamedTuple):
    """A layer's products, its norms, and the product that modulates it."""

    modulation: PackedLinear
    attention_norm: nn.LayerNorm
    projections: PackedLinear
    query_norm: nn.LayerNorm
    key_norm: nn.LayerNorm
    output: PackedLinear
    mlp_norm: nn.LayerNorm
    up: PackedLinear
    down: PackedLinear


class RarSteps:
    """The network a token at a time; see :class:`cortex.generators.network.raster.TokenSteps`.

    Args:
        network: in eval mode. Its large products are converted to ``precision`` in place.
        precision: float32 or bfloat16, of the large products and the cache.
    """

    lead = 1  # the vector of its own that begins the sequence

    def __init__(self, network: RarTransformer, precision: torch.dtype = torch.float32):
        self.network, self.precision = network, precision
        blocks: Iterable[Any] = network.blocks
        self.layers = [_prepared(block, precision) for block in blocks]
        self.heads, self.channels = network.heads, network.width // network.heads
        self.pass_layer = pass_layer
        self.embed_classes, self.embed_tokens = network.embed_classes, network.embeddings
        self.places, self.times = network.places(), network.timesteps_embeddings[0]

    def begin(self, embedded: Tensor, classes: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        own = torch.where(position == 0, self.network.cls_token[0], embedded)
        return own + self.places.index_select(0, position), classes + self.times.index_select(0, position)

    def logits(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.network.lm_head(self.network.adaln_before_head(x, condition))


def pass_layer(
    x: Tensor, layer: Layer, cache: Tensor, position: Tensor, seen: int, bias: Tensor | None, condition: Tensor
) -> Tensor:
    """A token's way through a layer; see :class:`cortex.generators.network.raster.TokenSteps`."""
    batch, width = x.shape
    _, _, heads, _, channels = cache.shape
    modulation = layer.modulation(F.silu(condition).to(cache.dtype)).to(x.dtype)
    shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=1)
    normal = modulate(layer.attention_norm(x), shift1, scale1).to(cache.dtype)
    query, key, value = layer.projections(normal).view(batch, 3, heads, 1, channels).unbind(1)
    cache[0].index_copy_(2, position, layer.key_norm(key.to(x.dtype)).to(cache.dtype))
    cache[1].index_copy_(2, position, value)
    query = layer.query_norm(query.to(x.dtype)).to(cache.dtype)
    mixed = F.scaled_dot_product_attention(query, cache[0, :, :, :seen], cache[1, :, :, :seen], attn_mask=bias)
    x = x + gate1 * layer.output(mixed.reshape(batch, width))
    normal = modulate(layer.mlp_norm(x), shift2, scale2).to(cache.dtype)
    return x + gate2 * layer.down(F.gelu(layer.up(normal)))


def _prepared(block: Block, precision: torch.dtype) -> Layer:
    """The weights of a :class:`Block`, its products converted in place; norms stay as they are."""

    def product(linear: Any) -> PackedLinear:
        converted = linear.to(precision)
        return PackedLinear(converted.weight.detach(), converted.bias.detach())

    return Layer(
        modulation=product(block.adaLN_modulation[1]),
        attention_norm=block.norm1,
        projections=product(block.attn.qkv),
        query_norm=block.attn.q_norm,
        key_norm=block.attn.k_norm,
        output=product(block.attn.proj),
        mlp_norm=block.norm2,
        up=product(block.mlp.fc1),
        down=product(block.mlp.fc2),
    )

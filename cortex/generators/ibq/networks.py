"""IBQ's transformer: LlamaGen's layers, which the class scales, shifts and gates. Names are those of its authors."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.fast.packed_linear import PackedLinear
from cortex.generators.llamagen import networks as llama
from cortex.generators.llamagen.networks import ClassEmbedding, Norm, normalise, rotations
from cortex.generators.network.adaptive import adaptive, modulate
from cortex.generators.network.raster import RasterSampler, Step


class Block(llama.Block):
    """A layer; gates, scales and shifts come in this order, attention's before the MLP's."""

    def __init__(self, width: int, heads: int):
        super().__init__(width, heads)
        self.ada_lin = adaptive(width, 6)

    def modulated(self, x: Tensor, classes: Tensor, rotation: Tensor) -> Tensor:
        """``[B, T, C]`` of ``[B, T, C]``; ``classes`` are embeddings ``[B, 1, C]``."""
        gate1, gate2, scale1, scale2, shift1, shift2 = self.ada_lin(classes).chunk(6, dim=-1)
        x = x + gate1 * self.attention(modulate(self.attention_norm(x), shift1, scale1), rotation)
        return x + gate2 * self.feed_forward(modulate(self.ffn_norm(x), shift2, scale2))


class Head(nn.Module):
    """The norm before the logits; here the scale comes before the shift."""

    def __init__(self, width: int):
        super().__init__()
        self.rmsnorm = Norm(width)
        self.ada_lin = adaptive(width, 2)

    def forward(self, x: Tensor, classes: Tensor) -> Tensor:
        scale, shift = self.ada_lin(classes).chunk(2, dim=-1)
        return modulate(self.rmsnorm(x), shift, scale)


class IbqTransformer(nn.Module):
    """The prior; arguments as :class:`cortex.generators.llamagen.networks.LlamaTransformer`."""

    def __init__(self, layers: int, heads: int, width: int, side: int, codes: int, classes: int):
        super().__init__()
        self.heads, self.width, self.side = heads, width, side
        self.tok_emb = nn.Embedding(codes, width)
        self.class_emb = ClassEmbedding(classes, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.head_nm = Head(width)
        self.head = nn.Linear(width, codes, bias=False)

    def rotations(self) -> Tensor:
        """Of all positions."""
        return rotations(self.side, self.width // self.heads, self.head.weight)

    def all_logits(self, classes: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, n + 1, K]`` of the tokens at positions 0 to n, given the classes and n tokens ``[B, n]``."""
        embedded = self.class_emb(classes)[:, None]
        x = torch.cat([embedded, self.tok_emb(tokens)], dim=1)
        rotation, blocks = self.rotations()[: x.shape[1]], self._blocks()
        for block in blocks:
            x = block.modulated(x, embedded, rotation)
        return self.head(self.head_nm(x, embedded))

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> RasterSampler:
        """The network's sampler; its large products are converted in place."""
        return RasterSampler(IbqSteps(self, precision), how, null_class)

    def _blocks(self) -> Iterable[Any]:
        return self.blocks


class Layer(NamedTuple):
    """A layer of LlamaGen's, and the product that modulates it."""

    plain: llama.Layer
    modulation: PackedLinear


class IbqSteps:
    """The network a token at a time; see :class:`cortex.generators.network.raster.TokenSteps`.

    Args:
        network: in eval mode. Its large products are converted to ``precision`` in place.
        precision: float32 or bfloat16, of the large products and the cache.
    """

    lead = 0

    def __init__(self, network: IbqTransformer, precision: torch.dtype = torch.float32):
        self.network, self.precision = network, precision
        blocks: Iterable[Any] = network.blocks
        self.layers = [_prepared(block, precision) for block in blocks]
        self.heads, self.channels = network.heads, network.width // network.heads
        self.pass_layer = pass_layer
        self.embed_classes, self.embed_tokens = network.class_emb, network.tok_emb
        self.table = network.rotations()

    def begin(self, embedded: Tensor, classes: Tensor, position: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        return embedded, (self.table.index_select(0, position), classes)

    def logits(self, x: Tensor, beside: tuple[Tensor, Tensor]) -> Tensor:
        return self.network.head(self.network.head_nm(x, beside[1]))


def pass_layer(
    x: Tensor,
    layer: Layer,
    cache: Tensor,
    position: Tensor,
    seen: int,
    bias: Tensor | None,
    beside: tuple[Tensor, Tensor],
) -> Tensor:
    """A token's way through a layer; see :class:`cortex.generators.network.raster.TokenSteps`."""
    (rotation, classes), plain = beside, layer.plain
    modulation = layer.modulation(F.silu(classes).to(cache.dtype)).to(x.dtype)
    gate1, gate2, scale1, scale2, shift1, shift2 = modulation.chunk(6, dim=1)
    normal = modulate(normalise(x, plain.attention_norm), shift1, scale1)
    x = x + gate1 * llama.attend(normal.to(cache.dtype), plain, cache, position, seen, bias, rotation)
    normal = modulate(normalise(x, plain.mlp_norm), shift2, scale2)
    return x + gate2 * llama.feed(normal.to(cache.dtype), plain)


def _prepared(block: Block, precision: torch.dtype) -> Layer:
    """The weights of a :class:`Block`, its products converted in place."""
    linear: Any = block.ada_lin.to(precision)[1]
    modulation = PackedLinear(linear.weight.detach(), linear.bias.detach())
    return Layer(llama.prepared(block, precision), modulation)

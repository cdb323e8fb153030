"""taming-transformers' GPT as a prior: its likelihoods, and its steps in the sampler."""

from typing import Any, NamedTuple

import numpy as np
import torch
from taming.modules.transformer.mingpt import GPT, Block
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.fast.packed_linear import PackedLinear
from cortex.generators.network.raster import RasterSampler, Step


class ClassGPT(GPT):  # type: ignore[misc]
    """The GPT, whose first token is a class index. Its causal masks are constants, no weights."""

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        positions = self.block_size
        causal = torch.from_numpy(np.tri(positions, dtype=np.float32)).view(1, 1, positions, positions)
        for block in self.blocks:
            block.attn.register_buffer("mask", causal, persistent=False)

    def all_logits(self, classes: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, n + 1, K]`` of the tokens at positions 0 to n, given the classes and n tokens ``[B, n]``."""
        return self(torch.cat([classes[:, None], tokens], dim=1))[0]

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> RasterSampler:
        """The network's sampler; its large products are converted in place."""
        return RasterSampler(GptSteps(self, precision), how, null_class)


class Layer(NamedTuple):
    """A layer's products, and the weights and biases of its norms."""

    attention_norm: tuple[Tensor, Tensor]
    projections: PackedLinear  # query, key and value as one product: fewer, larger multiplications
    output: PackedLinear
    mlp_norm: tuple[Tensor, Tensor]
    up: PackedLinear
    down: PackedLinear


class GptSteps:
    """The GPT a token at a time; see :class:`cortex.generators.network.raster.TokenSteps`.

    Args:
        gpt: in eval mode. Its attention and MLPs are converted to ``precision`` in place.
        precision: float32 or bfloat16, of the large products and the cache.
    """

    lead = 0

    def __init__(self, gpt: GPT, precision: torch.dtype = torch.float32):
        self.gpt, self.precision = gpt, precision
        self.layers = [_prepared(block, precision) for block in gpt.blocks]
        self.heads, self.channels = gpt.config.n_head, gpt.config.n_embd // gpt.config.n_head
        self.pass_layer = pass_layer
        self.embed_classes = self.embed_tokens = gpt.tok_emb

    def begin(self, embedded: Tensor, classes: Tensor, position: Tensor) -> tuple[Tensor, None]:
        return embedded + self.gpt.pos_emb[0].index_select(0, position), None

    def logits(self, x: Tensor, beside: None) -> Tensor:
        return self.gpt.head(self.gpt.ln_f(x))


def pass_layer(
    x: Tensor, layer: Layer, cache: Tensor, position: Tensor, seen: int, bias: Tensor | None, beside: None
) -> Tensor:
    """A token's way through a layer; see :class:`cortex.generators.network.raster.TokenSteps`."""
    batch, width = x.shape
    _, _, heads, _, channels = cache.shape
    normal = F.layer_norm(x, (width,), *layer.attention_norm).to(cache.dtype)
    query, key, value = layer.projections(normal).view(batch, 3, heads, 1, channels).unbind(1)
    cache[0].index_copy_(2, position, key)
    cache[1].index_copy_(2, position, value)
    mixed = F.scaled_dot_product_attention(query, cache[0, :, :, :seen], cache[1, :, :, :seen], attn_mask=bias)
    x = x + layer.output(mixed.reshape(batch, width))
    normal = F.layer_norm(x, (width,), *layer.mlp_norm).to(cache.dtype)
    return x + layer.down(F.gelu(layer.up(normal)))


def _prepared(block: Block, precision: torch.dtype) -> Layer:
    """The weights of taming's ``Block``, its attention and MLP converted in place.

    The query's, key's and value's weights become parts of the one matrix of all three, so none is held twice.
    """
    attention, mlp = block.attn.to(precision), block.mlp.to(precision)
    parts = (attention.query, attention.key, attention.value)
    weight = torch.cat([part.weight.detach() for part in parts])
    bias = torch.cat([part.bias.detach() for part in parts])
    for part, of_weight, of_bias in zip(parts, weight.chunk(3), bias.chunk(3), strict=True):
        part.weight.data, part.bias.data = of_weight, of_bias

    def pair(module: nn.Linear | nn.LayerNorm) -> tuple[Tensor, Tensor]:
        return module.weight.detach(), module.bias.detach()

    def product(linear: nn.Linear) -> PackedLinear:
        return PackedLinear(*pair(linear))

    return Layer(
        attention_norm=pair(block.ln1),
        projections=PackedLinear(weight, bias),
        output=product(attention.proj),
        mlp_norm=pair(block.ln2),
        up=product(mlp[0]),
        down=product(mlp[2]),
    )

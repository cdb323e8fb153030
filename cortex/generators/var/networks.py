"""VAR's transformer: it reads the map so far at a scale's size, and draws all of its tokens (Tian et al., 2024).

Names are those of its authors. A scale sees itself and all coarser ones. The class begins the sequence, and it scales,
shifts and gates every layer.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.errors import InputError
from cortex.generators.choice import choose_tokens, classes_of_rows, guide
from cortex.generators.network.adaptive import adaptive, modulate
from cortex.generators.network.raster import Step
from cortex.generators.sampling import Sampling
from cortex.generators.scales import ends_of
from cortex.generators.var.tokenizer import ScaleVQGAN

EPSILON = 1e-6
MOST = math.log(100)  # of the logarithm of what a head multiplies its queries by


class Attention(nn.Module):
    """Queries and keys have length 1; every head multiplies its queries. Keys have no bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.scale_mul_1H11 = nn.Parameter(torch.zeros(1, heads, 1, 1))
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cache: Tensor, start: int) -> Tensor:
        """``[R, n, C]`` of ``[R, n, C]``; keys and values go into the cache ``[2, R, heads, P, channels]``."""
        end, bias = start + x.shape[1], torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        parts = F.linear(x, self.mat_qkv.weight, bias).unflatten(-1, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        cache[0, :, :, start:end] = F.normalize(key.to(x.dtype), dim=-1)
        cache[1, :, :, start:end] = value
        query = F.normalize(query.to(x.dtype), dim=-1) * self.scale_mul_1H11.clamp_max(MOST).exp()
        keys, values = cache[:, :, :, :end]
        mixed = F.scaled_dot_product_attention(query.to(cache.dtype), keys, values, scale=1.0)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two layers."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    """A layer. Both gates come first, then both scales, then both shifts, attention's before the MLP's.

    Where layers share the product of the class, each adds vectors of its own (``ada_gss``).
    """

    def __init__(self, width: int, heads: int, hidden: int, shared: bool):
        super().__init__()
        self.attn = Attention(width, heads)
        self.ffn = Mlp(width, hidden)
        if shared:
            self.ada_gss = nn.Parameter(torch.zeros(1, 1, 6, width))
        else:
            self.ada_lin = adaptive(width, 6)

    def forward(self, x: Tensor, given: Tensor, cache: Tensor, start: int) -> Tensor:
        """``[R, n, C]`` of ``[R, n, C]``; ``given`` is the embedded class ``[R, 1, C]``, or the product of it."""
        six = given if hasattr(self, "ada_gss") else self.ada_lin(given)
        six = six.unflatten(-1, (6, -1)) + getattr(self, "ada_gss", 0)
        gate1, gate2, scale1, scale2, shift1, shift2 = six.to(x.dtype).unbind(2)
        x = x + gate1 * self.attn(modulate(normal(x), shift1, scale1), cache, start)
        return x + gate2 * self.ffn(modulate(normal(x), shift2, scale2))


class Head(nn.Module):
    """The norm before the logits; the scale comes before the shift."""

    def __init__(self, width: int):
        super().__init__()
        self.ada_lin = adaptive(width, 2)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        scale, shift = self.ada_lin(given).chunk(2, dim=-1)
        return modulate(normal(x), shift, scale)


def normal(x: Tensor) -> Tensor:
    """A norm without weights."""
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON)


class VarTransformer(nn.Module):
    """The prior.

    Args:
        layers: how many.
        heads: of attention.
        width: C.
        hidden: units of an MLP.
        sides: rows and columns of every scale, from coarse to fine.
        codes: of a scale, K.
        channels: of a code.
        classes: those that it knows; the index after the last is the null class.
        shared: whether layers share the product of the class.
    """

    def __init__(
        self,
        layers: int,
        heads: int,
        width: int,
        hidden: int,
        sides: Sequence[int],
        codes: int,
        channels: int,
        classes: int,
        shared: bool,
    ):
        super().__init__()
        self.heads, self.width, self.sides, self.codes, self.ends = heads, width, sides, codes, ends_of(sides)
        self.tokenizer: tuple[ScaleVQGAN, ...] = ()
        self.word_embed = nn.Linear(channels, width)
        self.class_emb = nn.Embedding(classes + 1, width)
        self.pos_start = nn.Parameter(torch.zeros(1, sides[0] ** 2, width))
        self.pos_1LC = nn.Parameter(torch.zeros(1, self.ends[-1], width))
        self.lvl_embed = nn.Embedding(len(sides), width)
        if shared:
            self.shared_ada_lin = adaptive(width, 6)
        self.blocks = nn.ModuleList(Block(width, heads, hidden, shared) for _ in range(layers))
        self.head_nm = Head(width)
        self.head = nn.Linear(width, codes)

    def cache(self, rows: int, precision: torch.dtype) -> Tensor:
        """Room for keys and values of all layers, ``[layers, 2, R, heads, P, channels]``."""
        shape = (len(self.blocks), 2, rows, self.heads, self.ends[-1], self.width // self.heads)
        return torch.empty(shape, dtype=precision, device=self.pos_1LC.device)

    def logits(self, scale: int, classes: Tensor, below: Tensor | None, cache: Tensor) -> Tensor:
        """Logits ``[R, side², K]`` of a scale's tokens, after those of all coarser scales.

        Args:
            scale: from 0 on.
            classes: int64 ``[R]``.
            below: the map that coarser scales add up to, ``[R, d, h, w]``; None: there are none.
            cache: keys and values of the coarser scales; those of this one are added.
        """
        start, end, given = self.ends[scale], self.ends[scale + 1], self.class_emb(classes)[:, None]
        if below is None:
            x = given + self.pos_start
        else:
            x = self.word_embed(F.adaptive_avg_pool2d(below, self.sides[scale]).flatten(2).transpose(1, 2))
        x = x + self.lvl_embed.weight[scale] + self.pos_1LC[:, start:end]
        with torch.autocast(x.device.type, cache.dtype, enabled=cache.dtype == torch.bfloat16):
            condition = self.shared_ada_lin(given) if hasattr(self, "shared_ada_lin") else given
            for block, of_block in zip(self.blocks, cache, strict=True):
                x = block(x, condition, of_block, start)
        return self.head(self.head_nm(x.to(given.dtype), given))

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> "ScaleSampler":
        """The network's sampler; its steps are always done operation by operation."""
        return ScaleSampler(self, self.tokenizer[0], precision, null_class)


class ScaleSampler:
    """Draws token sequences scale by scale, batch after batch.

    Args:
        network: in eval mode.
        tokenizer: whose codes it draws.
        precision: float32 or bfloat16, of the large products and the cache.
        null_class: the class of a context of no class; None: the network learned none, and cannot be guided.
    """

    def __init__(
        self, network: VarTransformer, tokenizer: ScaleVQGAN, precision: torch.dtype, null_class: int | None = None
    ):
        self.network, self.tokenizer, self.precision, self.null_class = network, tokenizer, precision, null_class

    def numbers(self, positions: int, sampling: Sampling) -> int:
        """Uniform numbers that a sample takes: one a token.

        Raises:
            InputError: the options state steps.
        """
        if sampling.steps is not None:
            raise InputError(f"steps {sampling.steps}: the generator draws scale by scale: allowed: null")
        return positions

    @torch.inference_mode()
    def draw(self, classes: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
        """Token sequences int64 ``[B, P]``, one for every class of ``[B]``.

        Args:
            classes: int64 ``[B]``, what each sequence is given.
            uniforms: float64 ``[B, P]`` in [0, 1), the only randomness.
            sampling: options. The strength of guidance is that of the scale's place among the scales.

        Raises:
            InputError: with guidance, there is no null class.
        """
        network, given = self.network, classes_of_rows(classes, self.null_class, sampling)
        strengths, cache = sampling.strengths(len(network.sides)), network.cache(len(given), self.precision)
        below: Tensor | None = None
        found = []
        for scale, numbers in enumerate(uniforms.split([side * side for side in network.sides], dim=1)):
            seen = None if below is None else below.repeat(sampling.rows, 1, 1, 1)
            logits = network.logits(scale, given, seen, cache)
            if sampling.rows == 2:
                logits = guide(logits, strengths[scale])
            codes = choose_tokens(logits.flatten(0, 1), numbers.flatten(), **sampling.choice).view_as(numbers)
            added = self.tokenizer.composition.add_scale(scale, self.tokenizer.vectors[codes])
            below = added if below is None else below + added
            found.append(codes + scale * network.codes)
        return torch.cat(found, 1)

"""Draw token grids from taming-transformers' GPT with a key/value cache, by inverse-CDF sampling.

One uniform number a sample and step decides the token, so a grid is a function of its class and its numbers. A guided
sample has two rows in the batch, one given its class and one given the null class.
"""

from typing import Any, Literal, NamedTuple

import torch
from taming.modules.transformer.mingpt import GPT, Block
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.fast.packed_linear import PackedLinear
from cortex.generators.choice import choose_tokens, classes_of_rows

# How a step is done: operation by operation; in shapes that never change, as a graph that a GPU runs at one command; or
# that, with every layer's operations fused by torch.compile.
Step = Literal["plain", "captured", "compiled"]
STRETCHES = 8  # shapes of a captured step: it reads one, two, … eighths of the cache


class Layer(NamedTuple):
    """A layer's products, and the weights and biases of its norms."""

    attention_norm: tuple[Tensor, Tensor]
    projections: PackedLinear  # query, key and value as one product: fewer, larger multiplications
    output: PackedLinear
    mlp_norm: tuple[Tensor, Tensor]
    up: PackedLinear
    down: PackedLinear


class Buffers:
    """What the steps of a batch read and write, in place: a captured step knows it by its address.

    Args:
        gpt: the network.
        rows: contexts that the network reads at once: B, or 2B with guidance.
        shape: ``[B, T]``, sequences and tokens of each.
        precision: of the cache.
    """

    def __init__(self, gpt: GPT, rows: int, shape: torch.Size, precision: torch.dtype):
        heads, width, device = gpt.config.n_head, gpt.config.n_embd, gpt.pos_emb.device
        # Zeros, since masked positions are read, too: their weight is 0, and 0 × NaN would be NaN.
        cached = (len(gpt.blocks), 2, rows, heads, shape[1], width // heads)
        self.cache = torch.zeros(cached, dtype=precision, device=device)
        self.uniforms = torch.zeros(shape, dtype=torch.float64, device=device)
        self.tokens = torch.zeros(shape, dtype=torch.int64, device=device)
        self.current = torch.zeros(rows, dtype=torch.int64, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}  # by the positions that the step reads


class Sampler:
    """Draws token sequences, batch after batch.

    Nothing in a step waits for the device, or reads anything back from it.

    Args:
        gpt: in eval mode. Its attention and MLPs are converted to ``precision`` in place; sums, norms and logits stay
            float32, since the eight bits of a bfloat16 logit would be seen in the distribution. On a CPU in float32,
            large matrices are held a second time, as :mod:`cortex.fast.packed_linear` multiplies by them.
        precision: float32 or bfloat16, of the large products and the cache.
        step: see :data:`Step`. Off a GPU, ``captured`` steps are done operation by operation.
        null_class: the first token of a context of no class; None: the GPT learned none, and cannot be guided.
    """

    def __init__(
        self, gpt: GPT, precision: torch.dtype = torch.float32, step: Step = "plain", null_class: int | None = None
    ):
        self.gpt, self.precision, self.step, self.null_class = gpt, precision, step, null_class
        self.layers = [_prepared(block, precision) for block in gpt.blocks]
        self._pass = torch.compile(pass_layer, dynamic=False, fullgraph=True) if step == "compiled" else pass_layer
        self._buffers: Buffers | None = None
        self._made_for: tuple[object, ...] = ()

    @torch.inference_mode()
    def draw(
        self,
        classes: Tensor,
        uniforms: Tensor,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """Token sequences int64 ``[B, T]``, one for every class of ``[B]``.

        Args:
            classes: int64 ``[B]``, the first token of each context; the T tokens follow.
            uniforms: float64 ``[B, T]`` in [0, 1), the only randomness.
            temperature, top_k, top_p, guidance: see :func:`choose_tokens`.

        Raises:
            InputError: with guidance, there is no null class.
        """
        choice: dict[str, Any] = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance}
        first = classes_of_rows(classes, self.null_class, guidance)
        made_for = (*uniforms.shape, *choice.values())
        with torch.cuda.device_of(classes):
            if self._buffers is None or self._made_for != made_for:
                self._buffers, self._made_for = None, made_for  # the old ones go before the new ones come
                self._buffers = self._prepare(len(first), uniforms.shape, choice)
            now = self._buffers
            now.current.copy_(first)
            now.uniforms.copy_(uniforms)
            now.position.zero_()
            for step in range(uniforms.shape[1]):
                if self.step == "plain":
                    self._advance(now, step + 1, choice)
                elif (graph := now.graphs.get(stretch(step, uniforms.shape[1]))) is not None:
                    graph.replay()
                else:
                    self._advance(now, stretch(step, uniforms.shape[1]), choice, masked=True)
            return now.tokens.clone()

    def _advance(self, now: Buffers, seen: int, choice: dict[str, Any], masked: bool = False) -> None:
        """One token further: ``now`` is that of the next step.

        Args:
            now: the batch; its ``position`` says which step this is.
            seen: positions of the cache to read, at least all so far and this one.
            choice: temperature, top_k, top_p, guidance.
            masked: whether ``seen`` may be more than those.
        """
        bias = None
        if masked:
            places = torch.arange(seen, device=now.position.device)
            bias = torch.zeros(1, 1, 1, seen, dtype=self.precision, device=now.position.device)
            bias = bias.masked_fill(places > now.position, float("-inf"))
        x = self.gpt.tok_emb(now.current) + self.gpt.pos_emb[0].index_select(0, now.position)
        for layer, cache in zip(self.layers, now.cache, strict=True):
            x = self._pass(x, layer, cache, now.position, seen, bias)
        logits = self.gpt.head(self.gpt.ln_f(x))
        chosen = choose_tokens(logits, now.uniforms.index_select(1, now.position)[:, 0], **choice)
        now.tokens.index_copy_(1, now.position, chosen[:, None])
        now.current.view(-1, len(chosen)).copy_(chosen)  # both rows of a guided sample go on with it
        now.position += 1

    def _prepare(self, rows: int, shape: torch.Size, choice: dict[str, Any]) -> Buffers:
        """Buffers for batches of a size, with the graphs of all shapes of the step where it is captured on a GPU."""
        if self.step == "compiled":
            torch.compiler.reset()  # what was compiled for other sizes; torch keeps eight versions of a function
        made, steps = Buffers(self.gpt, rows, shape, self.precision), shape[1]
        if self.step == "plain" or made.cache.device.type != "cuda":
            return made
        aside, pool = torch.cuda.Stream(), None
        for seen in sorted({stretch(step, steps) for step in range(steps)}):
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(2):  # compiles, chooses kernels, allocates workspaces: none of it can be captured
                    made.position.zero_()
                    self._advance(made, seen, choice, masked=True)
            torch.cuda.current_stream().wait_stream(aside)
            made.graphs[seen] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(made.graphs[seen], pool=pool):
                self._advance(made, seen, choice, masked=True)
            pool = made.graphs[seen].pool()
        return made


def stretch(step: int, steps: int) -> int:
    """Positions of the cache that a captured step reads, of ``steps``: the least number of eighths that is enough."""
    part = -(-steps // STRETCHES)
    return min(steps, (step // part + 1) * part)


def pass_layer(x: Tensor, layer: Layer, cache: Tensor, position: Tensor, seen: int, bias: Tensor | None) -> Tensor:
    """A token's way through a layer, float32 ``[B, C]`` to ``[B, C]``; its key and value go into the cache.

    Args:
        x: activations.
        layer: weights.
        cache: keys and values ``[2, B, heads, T, C / heads]``.
        position: where the token stands, int64 ``[1]``.
        seen: positions of the cache to read, from the first.
        bias: ``[1, 1, 1, seen]``, −∞ at those that hold nothing yet; None if all hold something.
    """
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


def sample_tokens(
    gpt: GPT,
    classes: Tensor,
    uniforms: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """One batch as :meth:`Sampler.draw` draws it, in float32 and plain steps: int64 ``[B, T]``."""
    return Sampler(gpt).draw(classes, uniforms, temperature=temperature, top_k=top_k, top_p=top_p)

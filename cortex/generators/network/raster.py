"""Draw token grids row by row with a key/value cache, by inverse-CDF sampling.

One uniform number a sample and step decides the token, so a grid is a function of its class and its numbers. A guided
sample has two rows in the batch, one given its class and one given the null class.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from cortex.core.errors import InputError
from cortex.generators.choice import choose_tokens, classes_of_rows, guide
from cortex.generators.sampling import Sampling

# How a step is done: operation by operation; in shapes that never change, as a graph that a GPU runs at one command; or
# that, with every layer's operations fused by torch.compile.
Step = Literal["plain", "captured", "compiled"]
STRETCHES = 8  # shapes of a captured step: it reads one, two, … eighths of the cache


class TokenSteps(Protocol):
    """A prior's network as the sampler drives it: a token a step, keys and values of the ones before in a cache.

    Sums, norms and logits stay float32, since the eight bits of a bfloat16 logit would be seen in the distribution.

    ``layers`` are the first arguments but one of ``pass_layer``; a layer's cache is ``[2, rows, heads, T, channels]``
    in ``precision``. ``pass_layer(x, layer, cache, position, seen, bias, beside)`` is a token's way through a layer,
    ``[rows, C]`` to ``[rows, C]``, whose key and value go into the cache:

    - ``position``: where the token stands, int64 ``[1]``.
    - ``seen``: positions of the cache to read, from the first.
    - ``bias``: ``[1, 1, 1, seen]``, −∞ at those that hold nothing yet; None if all hold something.
    - ``beside``: what ``begin`` gave.

    Nothing in a step may wait for the device, or read anything back from it.
    """

    @property
    def lead(self) -> int:
        """Places of the sequence before the class's. Nothing is drawn at them."""
        ...

    @property
    def layers(self) -> Sequence[Any]: ...

    @property
    def heads(self) -> int: ...

    @property
    def channels(self) -> int: ...

    @property
    def precision(self) -> torch.dtype: ...

    @property
    def pass_layer(self) -> Callable[..., Tensor]: ...

    def embed_classes(self, classes: Tensor) -> Tensor:
        """What the first step reads, ``[rows, C]``, of classes ``[rows]``; those of the lead are given it, too."""
        ...

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """What the next step reads, ``[B, C]``, of the chosen tokens ``[B]``."""
        ...

    def begin(self, embedded: Tensor, classes: Tensor, position: Tensor) -> tuple[Tensor, Any]:
        """The first layer's input ``[rows, C]`` at a position, and what all layers read beside it.

        ``embedded`` is what this step reads, ``classes`` the embedded classes.
        """
        ...

    def logits(self, x: Tensor, beside: Any) -> Tensor:
        """Of the next token, ``[rows, K]``, after the last layer."""
        ...


class Buffers:
    """What the steps of a batch read and write, in place: a captured step knows it by its address.

    Args:
        steps: the network.
        first: embedded classes, ``[rows, C]``: B rows, or 2B with guidance.
        shape: ``[B, T]``, sequences and tokens of each.
        sampling: its options.
    """

    def __init__(self, steps: TokenSteps, first: Tensor, shape: torch.Size, sampling: Sampling):
        device = first.device
        # Zeros, since masked positions are read, too: their weight is 0, and 0 × NaN would be NaN.
        cached = (len(steps.layers), 2, len(first), steps.heads, steps.lead + shape[1], steps.channels)
        self.cache = torch.zeros(cached, dtype=steps.precision, device=device)
        self.uniforms = torch.zeros(shape, dtype=torch.float64, device=device)
        self.tokens = torch.zeros(shape, dtype=torch.int64, device=device)
        self.classes, self.embedded = torch.zeros_like(first), torch.zeros_like(first)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.strengths = torch.tensor(sampling.strengths(shape[1]), dtype=torch.float64, device=device)
        self.graphs: dict[int, torch.cuda.CUDAGraph] = {}  # by the positions that the step reads


class RasterSampler:
    """Draws token sequences, batch after batch.

    Args:
        steps: the network, in eval mode. On a CPU in float32, large matrices may be held a second time, as
            :mod:`cortex.fast.packed_linear` multiplies by them.
        how: see :data:`Step`. Off a GPU, ``captured`` steps are done operation by operation.
        null_class: the class of a context of no class; None: the network learned none, and cannot be guided.
    """

    def __init__(self, steps: TokenSteps, how: Step = "plain", null_class: int | None = None):
        self.steps, self.how, self.null_class = steps, how, null_class
        self._pass = steps.pass_layer
        if how == "compiled":
            self._pass = torch.compile(steps.pass_layer, dynamic=False, fullgraph=True)
        self._buffers: Buffers | None = None
        self._made_for: tuple[object, ...] = ()

    def numbers(self, positions: int, sampling: Sampling) -> int:
        """Uniform numbers that a sample takes: one a token.

        Raises:
            InputError: the options are those of a generator that draws in steps.
        """
        if sampling.steps is not None:
            raise InputError(f"steps {sampling.steps}: the generator draws token by token: allowed: null")
        return positions

    @torch.inference_mode()
    def draw(self, classes: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
        """Token sequences int64 ``[B, T]``, one for every class of ``[B]``.

        Args:
            classes: int64 ``[B]``, what each sequence is given.
            uniforms: float64 ``[B, T]`` in [0, 1), the only randomness.
            sampling: options.

        Raises:
            InputError: with guidance, there is no null class.
        """
        first = self.steps.embed_classes(classes_of_rows(classes, self.null_class, sampling))
        made_for = (*uniforms.shape, sampling)
        with torch.cuda.device_of(classes):
            if self._buffers is None or self._made_for != made_for:
                self._buffers, self._made_for = None, made_for  # the old ones go before the new ones come
                self._buffers = self._prepare(first, uniforms.shape, sampling)
            now = self._buffers
            now.classes.copy_(first)
            now.embedded.copy_(first)
            now.uniforms.copy_(uniforms)
            now.position.zero_()
            lead, places = self.steps.lead, self.steps.lead + uniforms.shape[1]
            for place in range(places):
                seen = place + 1 if self.how == "plain" else stretch(place, places)
                if place >= lead and (graph := now.graphs.get(seen)) is not None:
                    graph.replay()
                else:
                    self._advance(now, seen, sampling, masked=self.how != "plain", draws=place >= lead)
            return now.tokens.clone()

    def _advance(self, now: Buffers, seen: int, sampling: Sampling, masked: bool = False, draws: bool = True) -> None:
        """One place further: ``now`` is that of the next step.

        Args:
            now: the batch; its ``position`` says which step this is.
            seen: positions of the cache to read, at least all so far and this one.
            sampling: options.
            masked: whether ``seen`` may be more than those.
            draws: whether a token is drawn at the place.
        """
        bias = None
        if masked:
            places = torch.arange(seen, device=now.position.device)
            bias = torch.zeros(1, 1, 1, seen, dtype=self.steps.precision, device=now.position.device)
            bias = bias.masked_fill(places > now.position, float("-inf"))
        x, beside = self.steps.begin(now.embedded, now.classes, now.position)
        for layer, cache in zip(self.steps.layers, now.cache, strict=True):
            x = self._pass(x, layer, cache, now.position, seen, bias, beside)
        if draws:
            self._draw_token(now, self.steps.logits(x, beside), sampling)
        now.position += 1

    def _draw_token(self, now: Buffers, logits: Tensor, sampling: Sampling) -> None:
        """Choose the token of the present place; the next step reads it."""
        token = now.position - self.steps.lead
        if sampling.rows == 2:
            logits = guide(logits, now.strengths.index_select(0, token))
        chosen = choose_tokens(logits, now.uniforms.index_select(1, token)[:, 0], **sampling.choice)
        now.tokens.index_copy_(1, token, chosen[:, None])
        now.embedded.unflatten(0, (-1, len(chosen))).copy_(self.steps.embed_tokens(chosen))  # both rows go on with it

    def _prepare(self, first: Tensor, shape: torch.Size, sampling: Sampling) -> Buffers:
        """Buffers for batches of a size, with the graphs of all shapes of the step where it is captured on a GPU."""
        if self.how == "compiled":
            torch.compiler.reset()  # what was compiled for other sizes; torch keeps eight versions of a function
        made, places = Buffers(self.steps, first, shape, sampling), self.steps.lead + shape[1]
        if self.how == "plain" or made.cache.device.type != "cuda":
            return made
        aside, pool = torch.cuda.Stream(), None
        for seen in sorted({stretch(place, places) for place in range(self.steps.lead, places)}):
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(2):  # compiles, chooses kernels, allocates workspaces: none of it can be captured
                    made.position.fill_(self.steps.lead)
                    self._advance(made, seen, sampling, masked=True)
            torch.cuda.current_stream().wait_stream(aside)
            made.graphs[seen] = torch.cuda.CUDAGraph()
            with torch.cuda.graph(made.graphs[seen], pool=pool):
                self._advance(made, seen, sampling, masked=True)
            pool = made.graphs[seen].pool()
        return made


def stretch(step: int, steps: int) -> int:
    """Places of the cache that a captured step reads, of ``steps``: the least number of eighths that is enough."""
    part = -(-steps // STRETCHES)
    return min(steps, (step // part + 1) * part)

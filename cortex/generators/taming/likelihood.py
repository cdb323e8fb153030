"""What the generator's GPT, its prior, thinks of token grids: how likely they are, what it would put in a region."""

from collections.abc import Sequence
from typing import Any

import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor

from cortex.core.errors import InputError
from cortex.generators.taming.generator import Generator
from cortex.generators.taming.sampler import choose_tokens


def prior_of(model: Generator) -> GPT | None:
    """The generator's GPT, or None if it is a VQGAN alone. Load it in float32: a forward pass mixes no precisions.

    Raises:
        InputError: the GPT does not know all codes of the codebook.
    """
    gpt = model.transformer
    if gpt is not None and gpt.config.vocab_size < len(model.codebook):
        raise InputError(
            f"the generator's transformer knows {gpt.config.vocab_size} of the codebook's {len(model.codebook)} codes: "
            "a grid may hold codes that it has no likelihood of"
        )
    return gpt


@torch.inference_mode()
def log_probabilities(gpt: GPT, classes: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
    """Log-probabilities of all codes, in nats, at some positions: each given the class and all tokens before it.

    Args:
        gpt: in eval mode, float32.
        classes: int64 ``[B]``, what the images are conditioned on.
        tokens: flattened grids int64 ``[B, T]``; what stands after the last of the positions does not matter.
        positions: p of the flattened grid's.

    Returns:
        float32 ``[B, p, K]``. One pass for all positions (teacher forcing): the GPT's output at a place is its
        distribution of the next token, and the class comes before the first.
    """
    context = torch.cat([classes[:, None], tokens[:, : max(positions)]], dim=1)
    logits, _ = gpt(context)
    return logits[:, list(positions)].log_softmax(-1)


def log_likelihoods(gpt: GPT, classes: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
    """Log-likelihood of the tokens at some positions, nats a token: float32 ``[B, p]``; see :func:`log_probabilities`.

    It is the whole distribution's, at temperature 1, whatever top-k or top-p images are drawn with.
    """
    found = log_probabilities(gpt, classes, tokens, positions)
    return found.gather(2, tokens[:, list(positions), None])[:, :, 0]


@torch.inference_mode()
def draw_region(
    gpt: GPT, classes: Tensor, tokens: Tensor, positions: Sequence[int], uniforms: Tensor, **choice: Any
) -> Tensor:
    """What the generator itself draws for a region, given the class and what precedes; the rest stays as it is.

    Args:
        gpt: in eval mode, float32.
        classes: int64 ``[B]``.
        tokens: flattened grids int64 ``[B, T]``.
        positions: of the region, p, ascending.
        uniforms: float64 ``[B, p]`` in [0, 1), the only randomness.
        choice: temperature, top_k, top_p, as :func:`~cortex.generators.taming.sampler.choose_tokens` has them.

    Returns:
        The region's tokens, int64 ``[B, p]``.
    """
    edited = tokens.clone()
    for place, position in enumerate(positions):
        found = log_probabilities(gpt, classes, edited, [position])[:, 0]
        edited[:, position] = choose_tokens(found, uniforms[:, place], **choice)
    return edited[:, list(positions)]

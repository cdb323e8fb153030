"""What a generator's prior states of token grids: how likely they are, and what it would draw in a region."""

from collections.abc import Sequence

import torch
from torch import Tensor

from cortex.generators.base import Prior
from cortex.generators.choice import choose_tokens, classes_of_rows, guide
from cortex.generators.sampling import Sampling


def log_likelihoods(prior: Prior, classes: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
    """Log-likelihood of the tokens at some positions, nats a token: float32 ``[B, p]``; arguments as in :class:`Prior`.

    It is the whole distribution's, at temperature 1, whatever top-k, top-p or guidance images are drawn with.
    """
    found = prior.log_probabilities(classes, tokens, positions)
    return found.gather(2, tokens[:, list(positions), None])[:, :, 0]


@torch.inference_mode()
def draw_region(
    prior: Prior, classes: Tensor, tokens: Tensor, positions: Sequence[int], uniforms: Tensor, sampling: Sampling
) -> Tensor:
    """What the generator itself draws for a region, given the class and what precedes; the rest stays as it is.

    Args:
        prior: of the generator.
        classes: int64 ``[B]``.
        tokens: flattened grids int64 ``[B, P]``.
        positions: of the region, p, ascending.
        uniforms: float64 ``[B, p]`` in [0, 1), the only randomness.
        sampling: temperature, top-k, top-p and guidance.

    Returns:
        The region's tokens, int64 ``[B, p]``.

    Raises:
        InputError: the draws are guided, and the generator has no null class.
    """
    edited, rows = tokens.clone(), classes_of_rows(classes, prior.null_class, sampling)
    strengths = sampling.strengths(tokens.shape[1])
    for place, position in enumerate(positions):
        found = prior.log_probabilities(rows, edited.repeat(sampling.rows, 1), [position])[:, 0]
        if sampling.rows == 2:
            found = guide(found, strengths[position])
        edited[:, position] = choose_tokens(found, uniforms[:, place], **sampling.choice)
    return edited[:, list(positions)]

"""How a token is chosen from logits: by the cumulative distribution at one uniform number, guided to a class or not.

Classifier-free guidance (Ho and Salimans, 2022) takes two rows a sequence, one given its class and one given the null
class, which stands for no class in particular. Both continue with the same token.
"""

import torch
from torch import Tensor

from cortex.core.errors import InputError
from cortex.generators.sampling import Sampling


def classes_of_rows(classes: Tensor, null_class: int | None, sampling: Sampling) -> Tensor:
    """The classes that the rows of a batch are given: those of ``[B]``; with guidance, B null classes after them.

    Raises:
        InputError: with guidance, the generator has no null class.
    """
    if sampling.rows == 1:
        return classes
    if null_class is None:
        raise InputError(
            f"guidance {sampling.guidance}: the generator has no null class, which guidance needs; allowed: 1"
        )
    return torch.cat([classes, torch.full_like(classes, null_class)])


def guide(logits: Tensor, strength: float | Tensor) -> Tensor:
    """Guided logits float64 ``[B, K]`` of ``[2B, K]``, B rows given their class, and B given the null class.

    Args:
        logits: of both.
        strength: s in ``null + s · (given − null)``.
    """
    given, null = logits.double().chunk(2)
    return null + strength * (given - null)


def choose_tokens(
    logits: Tensor,
    uniforms: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Tensor:
    """The token int64 ``[B]`` at which the cumulative distribution of logits ``[B, K]`` passes ``uniforms [B]``.

    Args:
        logits: guided already, if they are to be.
        uniforms: in [0, 1).
        temperature: divides the logits; below 1 sharpens.
        top_k: keep the k most probable tokens; None keeps all.
        top_p: of those, keep the smallest set of most probable tokens whose probability exceeds p; None keeps all.
            Tokens exactly as probable as the last one kept are kept with it, here and for ``top_k``.
    """
    logits = logits.double()
    logits = (logits - logits.amax(dim=1, keepdim=True)) / temperature  # at most 0: no temperature overflows
    if top_k is not None or top_p is not None:
        best = logits.topk(min(top_k or logits.shape[1], logits.shape[1]), dim=1).values
        kept = torch.ones_like(best, dtype=torch.bool)
        if top_p is not None:
            probabilities = best.softmax(dim=1)
            kept = probabilities.cumsum(dim=1) - probabilities <= top_p
        threshold = best.masked_fill(~kept, float("inf")).amin(dim=1, keepdim=True)
        logits = logits.masked_fill(logits < threshold, float("-inf"))
    # Tokens in codebook order: a last-bit difference in a logit then moves a boundary by its last bits only.
    cumulative = logits.softmax(dim=1).cumsum(dim=1)
    passed = cumulative <= (uniforms * cumulative[:, -1])[:, None]
    return passed.sum(dim=1).clamp_(max=logits.shape[1] - 1)

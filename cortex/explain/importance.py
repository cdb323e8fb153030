"""Sample-level explanation: the token importance score (METHOD.md, section 4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cortex.core.memory import inputs_at_once
from cortex.explain.context import AttributionContext
from cortex.explain.settings import Importance, Reduction

PUBLISHED = Importance()


def token_importance(
    extractor: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    *,
    samples: int = PUBLISHED.samples,
    noise: float = PUBLISHED.noise,
    reduction: Reduction = PUBLISHED.reduction,
) -> Tensor:
    """Token importance scores: :func:`smooth_gradient`, reduced over the channels of a position, signed.

    Args:
        extractor: in eval mode, its weights without gradients.
        embeddings: float ``[B, d, h, w]``.
        labels: int64 ``[B]``.
        seeds: of the noise, one an image.
        samples: noisy copies of every image.
        noise: standard deviation of the noise, in units of max − min of the image's embedding.
        reduction: over the d channels; ``max`` is published.

    Returns:
        Float ``[B, h, w]``.
    """
    gradient = smooth_gradient(extractor, embeddings, labels, seeds, samples=samples, noise=noise)
    return reduce_channels(gradient, reduction)


def reduce_channels(gradient: Tensor, reduction: Reduction) -> Tensor:
    """One score a position, ``[B, h, w]``, of gradients ``[B, d, h, w]``."""
    return gradient.amax(1) if reduction == "max" else gradient.mean(1)


def smooth_gradient(
    extractor: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    *,
    samples: int = PUBLISHED.samples,
    noise: float = PUBLISHED.noise,
) -> Tensor:
    """SmoothGrad of the label's logit: its mean gradient over noisy copies of every image (Smilkov et al., 2017).

    The noise of an image has standard deviation ``noise`` × (max − min of its own embedding) and is drawn from its
    own seed, so a score does not depend on the other images of the batch. One backward pass takes as many
    copies as memory permits: in eval mode no image's logit depends on another image.

    Args:
        extractor: in eval mode, its weights without gradients.
        embeddings: float ``[B, d, h, w]``.
        labels: int64 ``[B]``.
        seeds: of the noise, one an image.
        samples: noisy copies of every image.
        noise: noise level; 0 gives the plain gradient.

    Returns:
        Float ``[B, d, h, w]``.
    """
    count, shape = len(embeddings), embeddings.shape[1:]
    noisy = torch.empty((count, samples, *shape), device=embeddings.device)
    random = torch.Generator(embeddings.device)
    for image, seed in enumerate(seeds):  # one call an image: its numbers must be its own
        torch.randn((samples, *shape), generator=random.manual_seed(seed), out=noisy[image])
    flat = embeddings.flatten(1)
    spread = noise * (flat.amax(1) - flat.amin(1))
    noisy.mul_(spread[:, None, None, None, None]).add_(embeddings[:, None])
    noisy = noisy.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    targets, gradients = labels.repeat_interleave(samples), torch.empty_like(noisy)
    for rows in torch.arange(len(noisy)).split(inputs_at_once(extractor, noisy)):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        gradients[part] = _gradient(extractor, noisy[part], targets[part])
    return gradients.unflatten(0, (count, samples)).mean(1)


def _gradient(extractor: nn.Module, embeddings: Tensor, labels: Tensor) -> Tensor:
    """Gradient of the labels' logits with regard to embeddings ``[B, d, h, w]``, of their shape."""
    embeddings = embeddings.detach().requires_grad_()
    logits = extractor(embeddings).gather(1, labels[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), embeddings)
    return gradient


def tis(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext) -> Tensor:
    """The token importance score as an attribution: :func:`token_importance`."""
    return token_importance(
        extractor,
        embeddings,
        labels,
        context.noise_seeds(),
        samples=context.samples,
        noise=context.noise,
        reduction=context.reduction,
    )

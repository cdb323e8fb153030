"""Attributions beside the token importance score, of the same logit (METHOD.md, section 4).

An attribution is a function ``method(extractor, embeddings, labels, context)``. It gives every position a signed score
for the label's logit f(E), float ``[B, h, w]``; a high score speaks for the label. The registry ``ATTRIBUTIONS`` has
their names. Arguments of every method:

- extractor: in eval mode, its weights without gradients.
- embeddings: E, float ``[B, d, h, w]``.
- labels: int64 ``[B]``.
- context: an :class:`AttributionContext` of the B images.
"""

import numpy as np
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

from cortex.core.memory import inputs_at_once
from cortex.core.randomness import uniforms
from cortex.explain.context import AttributionContext
from cortex.explain.importance import reduce_channels, token_importance


def gradient(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext) -> Tensor:
    """∂f/∂E, reduced over channels as the importance is: the importance without its noise."""
    gradients = Saliency(extractor).attribute(_with_gradient(embeddings), target=labels, abs=False)
    return reduce_channels(gradients, context.reduction)


def gradient_input(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext) -> Tensor:
    """E · ∂f/∂E, summed over channels: a position's part of the first-order change of the logit from E = 0."""
    return InputXGradient(extractor).attribute(_with_gradient(embeddings), target=labels).sum(1).detach()


def integrated_gradients(
    extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext
) -> Tensor:
    """Integrated gradients from ``nothing`` at every position, summed over channels (Sundararajan et al., 2017).

    The scores of all positions add up to f(E) − f(nothing). The integral is a Gauss–Legendre quadrature.
    """
    scores = IntegratedGradients(extractor).attribute(
        _with_gradient(embeddings),
        context.nothing[None, :, None, None].expand_as(embeddings),
        labels,
        n_steps=context.steps,
        internal_batch_size=max(
            len(embeddings), min(context.samples * len(embeddings), inputs_at_once(extractor, embeddings))
        ),
    )
    return scores.sum(1).detach()


def smoothgrad_mean(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext) -> Tensor:
    """The importance's own noisy gradients, averaged over channels."""
    return token_importance(
        extractor,
        embeddings,
        labels,
        context.noise_seeds(),
        samples=context.samples,
        noise=context.noise,
        reduction="mean",
    )


def occlusion(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext) -> Tensor:
    """f(E) − f(E with ``nothing`` at the position)."""
    height, width = embeddings.shape[2:]
    positions = torch.arange(height * width, device=embeddings.device).view(1, 1, height, width)
    falls = FeatureAblation(extractor).attribute(
        embeddings,
        context.nothing[None, :, None, None].expand(1, -1, height, width),
        labels,
        feature_mask=positions,
        perturbations_per_eval=context.samples,
    )
    return falls[:, 0]  # every channel has the same score


def random(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext) -> Tensor:
    """The image level's random order of positions: a baseline that explains nothing."""
    height, width = embeddings.shape[2:]
    order = uniforms(np.array(context.seeds("random positions"), np.uint64), height * width)
    return torch.from_numpy(order).float().view(-1, height, width)


def _with_gradient(embeddings: Tensor) -> Tensor:
    return embeddings.detach().clone().requires_grad_()

"""Other attributions of the logit that the token importance score explains (METHOD.md, section 9).

An attribution is a function ``method(extractor, embeddings, labels, context)``. It gives every position a signed score
for the label's logit f(E), float ``[B, h, w]``; a high score speaks for the label. The registry ``ATTRIBUTIONS`` has
their names. Arguments of every method:

- extractor: in eval mode, its weights without gradients.
- embeddings: E, float ``[B, d, h, w]``.
- labels: int64 ``[B]``.
- context: an :class:`AttributionContext` of the B images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from captum.attr import FeatureAblation, InputXGradient, IntegratedGradients, Saliency
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import write_table
from cortex.data.tokens import read_tokens
from cortex.explain import ATTRIBUTIONS, IMPORTANCE
from cortex.explain.importance import reduce_channels, token_importance
from cortex.explain.settings import Importance, Reduction
from cortex.extractors.codebook import look_up
from cortex.extractors.network import load_with_codebook


@dataclass(frozen=True)
class AttributionContext:
    """Arguments that attributions share.

    Args:
        nothing: vector of a position without information, ``[d]``: for occlusion, and for the baseline of integrated
            gradients.
        keys: keys of the images, B.
        seed: seed of the random numbers; see :meth:`seeds`.
        samples: noisy copies of an image (SmoothGrad); methods that change an image evaluate so many changes at once.
        noise: standard deviation of the noise, in units of max − min of the image's embedding.
        reduction: reduction of the importance over the d channels.
        steps: steps of a numerical integral.
    """

    nothing: Tensor
    keys: Sequence[str]
    seed: int
    samples: int
    noise: float
    reduction: Reduction
    steps: int

    def seeds(self, purpose: str) -> list[int]:
        """A seed for every image, a function of the seed, the purpose and the image's key alone."""
        seeds: list[int] = key_seeds(self.seed, purpose, self.keys).tolist()
        return seeds


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
        internal_batch_size=context.samples * len(embeddings),
    )
    return scores.sum(1).detach()


def smoothgrad_mean(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: AttributionContext) -> Tensor:
    """The importance's own noisy gradients, averaged over channels."""
    return token_importance(
        extractor,
        embeddings,
        labels,
        context.seeds(IMPORTANCE),
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


def attribute_images(
    output: Path,
    scores: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    methods: list[str],
    images_per_class: int,
    steps: int,
    importance: Importance,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Score the positions of some images of every class by other attributions, beside their token importance.

    A position without information (``nothing``) holds the mean of the codebook's vectors: it lies amid the vectors
    that an extractor has seen and is no code's own. Zero may lie far from every code.

    Args:
        output: Parquet to write, a row an image and method, importance first: key, label, method, scores (h·w
            float32, row-major).
        scores: importance files of the test split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        methods: names of attributions, or module:function.
        images_per_class: images of every class, the first in the files' order.
        steps: steps of the integral of integrated gradients.
        importance: settings of the importance scores; the methods share their noise.
        seed: seed of the noise and of the method random, together with the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    functions = {name: ATTRIBUTIONS.load(name) for name in methods}
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)
    images = read_tokens(scores, [IMPORTANCE], codes=len(code_vectors))
    images = images.take(images.first(images_per_class))
    grids, labels = torch.from_numpy(images.grids).to(on), torch.from_numpy(images.labels).to(on)
    found: dict[str, list[Tensor]] = {name: [] for name in methods}
    parts = torch.arange(len(images)).split(importance.batch)
    for rows in progress(parts, len(parts), "attributions", "batch"):
        embeddings = look_up(code_vectors, grids[rows])
        context = AttributionContext(
            nothing=code_vectors.mean(0),
            keys=[images.keys[row] for row in rows],
            seed=seed,
            samples=importance.samples,
            noise=importance.noise,
            reduction=importance.reduction,
            steps=steps,
        )
        for name, method in functions.items():
            of_method = method(network, embeddings, labels[rows], context)
            if of_method.shape != (len(rows), *images.shape):
                expected = [len(rows), *images.shape]
                raise InputError(f"attribution {name}: scores of shape {list(of_method.shape)}; expected: {expected}")
            found[name].append(of_method.detach().flatten(1).cpu())
    flat = np.stack([images.scores[IMPORTANCE], *(torch.cat(found[name]).numpy() for name in methods)])
    columns = {
        "key": pa.array(images.keys * len(flat)),
        "label": pa.array(np.tile(images.labels, len(flat)), pa.int32()),
        "method": pa.array(np.repeat([IMPORTANCE, *methods], len(images))),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel(), pa.float32()), flat.shape[2]),
    }
    write_table(output, pa.table(columns))


def _with_gradient(embeddings: Tensor) -> Tensor:
    return embeddings.detach().clone().requires_grad_()

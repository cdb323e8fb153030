"""Sample-level explanation: the token importance score (METHOD.md, section 4)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds
from cortex.data.tokens import Tokens, read_tokens, write_tokens
from cortex.explain import IMPORTANCE
from cortex.explain.settings import Importance, Reduction
from cortex.extractors.codebook import look_up
from cortex.extractors.network import check_reads, load_with_codebook

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
    own seed, so a score does not depend on the other images of the batch. One backward pass computes all gradients: in
    eval mode no image's logit depends on another image.

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
    noisy = noisy.flatten(0, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
    logits = extractor(noisy).gather(1, labels.repeat_interleave(samples)[:, None])
    (gradients,) = torch.autograd.grad(logits.sum(), noisy)
    return gradients.unflatten(0, (count, samples)).mean(1)


def grid_importance(
    extractor: nn.Module,
    codebook: Tensor,
    grids: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    settings: Importance,
    *,
    what: str = "importance",
) -> NDArray[np.float32]:
    """Token importance scores of token grids, batch after batch; see :func:`token_importance`.

    Args:
        extractor: in eval mode, its weights without gradients.
        codebook: float ``[K, d]``.
        grids: tokens, int ``[N, h, w]``.
        labels: int64 ``[N]``.
        seeds: of the noise, one an image.
        settings: of the scores, and the images of one backward pass.
        what: the progress bar's name.

    Returns:
        ``[N, P]``, P = h·w.
    """
    parts = torch.arange(len(grids)).split(settings.batch)
    scores = [
        token_importance(
            extractor,
            look_up(codebook, grids[rows]),
            labels[rows],
            [seeds[row] for row in rows],
            samples=settings.samples,
            noise=settings.noise,
            reduction=settings.reduction,
        )
        for rows in progress(parts, len(parts), what, "batch")
    ]
    flat: NDArray[np.float32] = torch.cat(scores).flatten(1).cpu().numpy()
    return flat


def explain_shard(
    output: Path,
    tokens: Path,
    extractor: Path,
    codebook: Path,
    *,
    settings: Importance,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Compute the token importance of every image of a token table.

    Args:
        output: token table to write: key, label, tokens, predicted (class of the highest logit, int32),
            importance (h·w float32, row-major).
        tokens: token table.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        settings: settings of the scores.
        seed: seed of the noise. The noise of an image is a function of the seed and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)
    images = read_tokens(tokens, codes=len(code_vectors))
    check_reads(extractor, images.shape, int(images.labels.max()))
    grids = torch.from_numpy(images.grids.astype(np.int32)).to(on)
    labels = torch.from_numpy(images.labels).to(on)
    seeds = key_seeds(seed, IMPORTANCE, images.keys).tolist()
    scores = grid_importance(network, code_vectors, grids, labels, seeds, settings)
    with torch.inference_mode():
        parts = [network(look_up(code_vectors, part)).argmax(1) for part in grids.split(settings.batch)]
    predicted = pa.array(torch.cat(parts).cpu().numpy(), pa.int32())
    explained = Tokens(images.keys, images.labels, images.tokens, images.shape, {IMPORTANCE: scores})
    write_tokens(output, explained, {"predicted": predicted})

"""Sample-level explanation: the token importance score (METHOD.md, section 4)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.device import choose_device
from cortex.core.errors import check_options
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds
from cortex.core.tables import write_table
from cortex.data.shard_reader import read_shard
from cortex.extractors.codebook import look_up
from cortex.extractors.network import check_reads, load_with_codebook


def token_importance(
    extractor: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    *,
    samples: int = 20,
    noise: float = 0.2,
    reduction: Literal["max", "mean"] = "max",
) -> Tensor:
    """Token importance scores ``[B, h, w]``: :func:`smooth_gradient`, reduced over channels, signed.

    Args:
        extractor, embeddings, labels, seeds, samples, noise: as there.
        reduction: over the d channels; ``max`` as published, ``mean`` as an alternative.
    """
    return reduce_channels(
        smooth_gradient(extractor, embeddings, labels, seeds, samples=samples, noise=noise), reduction
    )


def reduce_channels(mean: Tensor, reduction: Literal["max", "mean"]) -> Tensor:
    """One score a position, ``[B, h, w]``, of mean gradients ``[B, d, h, w]``."""
    return mean.amax(1) if reduction == "max" else mean.mean(1)


def smooth_gradient(
    extractor: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    *,
    samples: int = 20,
    noise: float = 0.2,
) -> Tensor:
    """SmoothGrad of the label's logit: its mean gradient ``[B, d, h, w]`` over noisy copies of every image.

    The noise of an image has standard deviation ``noise`` × (max − min of its own embedding) and is drawn from its
    own seed, so a score does not depend on the other images of the batch. One backward pass serves them all: in
    eval mode no image's logit depends on another image.

    Args:
        extractor: in eval mode, its weights without gradients.
        embeddings: ``[B, d, h, w]``.
        labels: int64 ``[B]``.
        seeds: one an image.
        samples: noisy copies of every image.
        noise: noise level; 0 gives the plain gradient.
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
    *,
    samples: int,
    noise: float,
    reduction: Literal["max", "mean"],
    batch: int,
    what: str = "importance",
) -> NDArray[np.float32]:
    """Token importance scores ``[N, P]`` of token grids, P = h·w, some at a time; see :func:`token_importance`.

    Args:
        extractor: in eval mode, its weights without gradients.
        codebook: ``[K, d]``.
        grids: tokens ``[N, h, w]``.
        labels: int64 ``[N]``.
        seeds: one an image.
        samples, noise, reduction: of the scores.
        batch: images of one backward pass.
        what: the progress bar's name.
    """
    parts = torch.arange(len(grids)).split(batch)
    scores = [
        token_importance(
            extractor,
            look_up(codebook, grids[rows]),
            labels[rows],
            [seeds[row] for row in rows],
            samples=samples,
            noise=noise,
            reduction=reduction,
        )
        for rows in progress(parts, len(parts), what, "batch")
    ]
    flat: NDArray[np.float32] = torch.cat(scores).flatten(1).cpu().numpy()
    return flat


def schema(positions: int) -> pa.Schema:
    """Columns of an importance file for grids of so many positions."""
    return pa.schema(
        [
            ("key", pa.string()),
            ("label", pa.int32()),
            ("predicted", pa.int32()),
            ("importance", pa.list_(pa.float32(), positions)),
        ]
    )


def explain_shard(
    output: Path,
    shard: Path,
    extractor: Path,
    codebook: Path,
    *,
    samples: int = 20,
    noise: float = 0.2,
    reduction: Literal["max", "mean"] = "max",
    batch: int = 25,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Compute the token importance of every image of a shard.

    Args:
        output: Parquet to write: key, label, predicted, importance (h·w float32, row-major).
        shard: WebDataset tar.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        samples: noisy copies of every image (SmoothGrad).
        noise: their standard deviation, in units of (max − min) of the image's embedding.
        reduction: of the gradient over the channels of a position: max (published) or mean.
        batch: images of one backward pass.
        seed: of the noise; an image's noise is a function of it and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    check_options(1, samples=samples, batch=batch)
    check_options(noise=noise)
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)
    images = list(read_shard(shard, codes=len(code_vectors)))
    check_reads(extractor, images[0].grid.shape, max(image.label for image in images))
    grids = torch.from_numpy(np.stack([image.grid for image in images]).astype(np.int32)).to(on)
    labels = torch.tensor([image.label for image in images], device=on)
    seeds = key_seeds(seed, "importance", [image.key for image in images]).tolist()
    flat = grid_importance(
        network,
        code_vectors,
        grids,
        labels,
        seeds,
        samples=samples,
        noise=noise,
        reduction=reduction,
        batch=batch,
    )
    with torch.inference_mode():
        predicted = [network(look_up(code_vectors, part)).argmax(1) for part in grids.split(batch)]
    columns = [
        pa.array([image.key for image in images]),
        pa.array(labels.cpu().numpy(), pa.int32()),
        pa.array(torch.cat(predicted).cpu().numpy(), pa.int32()),
        pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel(), pa.float32()), flat.shape[1]),
    ]
    write_table(output, pa.Table.from_arrays(columns, schema=schema(flat.shape[1])))

"""Stability: how many noisy copies does tis need? Scores of independent noise, compared."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.progress import progress
from cortex.core.randomness import key_seeds
from cortex.explain.importance import reduce_channels, smooth_gradient
from cortex.explain.rank_agreement import rank_correlation, top_overlap
from cortex.extractors.codebook import look_up
from cortex.studies.inputs import StudyInputs, on_device
from cortex.studies.stability.settings import Stability

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("samples", pa.int32()),
        ("other_samples", pa.int32()),
        ("measure", pa.string()),
        ("n", pa.int32()),
        ("value", pa.float64()),
    ]
)
AT_ONCE = 20  # noisy copies of an image in one backward pass


def importance_at(
    extractor: nn.Module,
    embeddings: Tensor,
    labels: Tensor,
    keys: Sequence[str],
    counts: Sequence[int],
    *,
    seed: int,
    stream: str,
    noise: float = 0.2,
    reduction: Literal["max", "mean"] = "max",
) -> Iterator[Tensor]:
    """Token importance scores ``[B, h, w]`` after each of ``counts`` samples, ascending, of one growing set of them.

    Args:
        extractor: in eval mode, its weights without gradients.
        embeddings: ``[B, d, h, w]``.
        labels: int64 ``[B]``.
        keys: of the images; with seed and stream they decide the noise.
        counts: numbers of samples.
        seed, stream: streams of different names are independent.
        noise, reduction: as :func:`~cortex.explain.importance.token_importance`.
    """
    total, done = torch.zeros_like(embeddings), 0
    for count in counts:
        while done < count:
            drawn = min(AT_ONCE, count - done)
            seeds = key_seeds(seed, f"stability {stream} {done}", keys).tolist()
            total += drawn * smooth_gradient(extractor, embeddings, labels, seeds, samples=drawn, noise=noise)
            done += drawn
        yield reduce_channels(total / done, reduction)


def rows(inputs: StudyInputs, settings: Stability, *, seed: int, device: torch.device) -> pa.Table:
    """Compare an extractor's scores of the same images at the same number of samples, but of independent noise.

    Each number of samples is compared with another set of as many (do two users see the same?) and with the reference,
    a third set, of more (what would they say?).

    Returns:
        key, label, samples, other_samples, measure, n, value. Measures: "correlation" (Spearman's, over positions; n
        is null) and "overlap", the share of the n highest positions that are the same.
    """
    network, codebook = inputs.load(device)
    images = inputs.first(settings.images_per_class)
    grids, labels = on_device(images, device)
    counts, reference = sorted(settings.samples), settings.reference
    streams = {"first": counts, "second": counts, "reference": [reference]}
    noise, reduction = inputs.importance.noise, inputs.importance.reduction
    parts = torch.arange(len(grids)).split(inputs.importance.batch)
    found: dict[tuple[str, int], list[Tensor]] = {}
    for part in progress(parts, len(parts), "stability", "batch"):
        embeddings, keys = look_up(codebook, grids[part]), [images.keys[row] for row in part]
        for stream, at in streams.items():
            scores = importance_at(
                network,
                embeddings,
                labels[part],
                keys,
                at,
                seed=seed,
                stream=stream,
                noise=noise,
                reduction=reduction,
            )
            for count, of_part in zip(at, scores, strict=True):
                found.setdefault((stream, count), []).append(of_part.flatten(1).cpu())
    scored = {which: torch.cat(of_batches).numpy() for which, of_batches in found.items()}
    tables = []
    for count in counts:
        others = {count: scored["second", count], reference: scored["reference", reference]}
        for other_count, other in others.items():
            for measure, n, values in _measures(scored["first", count], other, settings.top_n):
                of = {"samples": count, "other_samples": other_count, "measure": measure, "n": n}
                constant = {name: [value] * len(values) for name, value in of.items()}
                columns = {"key": images.keys, "label": images.labels, **constant, "value": values}
                tables.append(pa.table(columns).cast(SCHEMA))
    return pa.concat_tables(tables)


def _measures(
    one: NDArray[np.float32], other: NDArray[np.float32], top_n: Sequence[int]
) -> Iterator[tuple[str, int | None, NDArray[np.float64]]]:
    yield "correlation", None, rank_correlation(one, other)
    for n in top_n:
        yield "overlap", n, top_overlap(one, other, n)

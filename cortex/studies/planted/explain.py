"""Explain the planted benchmark by the run's own stages: importance, concept-level tokens, codebook search."""

from pathlib import Path
from typing import Literal

import torch

from cortex.core.tables import read_table
from cortex.explain.attributions import attribute_images
from cortex.explain.codebook_search import search_codebook
from cortex.explain.concept_tokens import count_important
from cortex.explain.importance import explain_shard
from cortex.extractors.codebook import load_codebook


def explain_planted(
    folder: Path,
    data: Path,
    extractor: Path,
    *,
    positions: int,
    methods: list[str],
    samples: int = 20,
    noise: float = 0.2,
    reduction: Literal["max", "mean"] = "max",
    importance_batch: int = 25,
    attributed_per_class: int = 20,
    integration_steps: int = 50,
    top: int = 7,
    left: int = 7,
    height: int = 4,
    width: int = 4,
    images_per_class: int = 2,
    steps: int = 5000,
    learning_rate: float = 0.01,
    temperature: float = 1.0,
    search_batch: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Explain the validation and test images of a planted variant as a run explains its own.

    Concept-level tokens are counted in the validation images: drawn as those of training are, but not learned by heart.
    The codebook search makes every class into the next.

    Args:
        folder: where to write validation.parquet and test.parquet (importance), tokens.parquet, attributions.parquet
            and search.parquet, as the commands importance, concept-tokens, attributions and codebook-search do.
        data: folder of the variant, as the command plant wrote it.
        extractor: weights of an extractor trained on it.
        positions: how many of an image's most important positions count for concept-level tokens.
        methods: other attributions, as the command attributions knows them.
        samples: noisy copies of every image (SmoothGrad).
        noise: their standard deviation, in units of (max − min) of the image's embedding.
        reduction: of the gradient over the channels of a position: max (published) or mean.
        importance_batch: images of one backward pass.
        attributed_per_class: test images of every class to try them on.
        integration_steps: of the integral of integrated gradients.
        top: first row of the region that is searched for, from 0.
        left: first column of the region, from 0.
        height: rows of the region.
        width: columns of the region.
        images_per_class: test images of every class to search with.
        steps: optimisation steps of the search.
        learning_rate: of its Adam.
        temperature: of its Gumbel-softmax.
        search_batch: images searched at once.
        seed: of the noise; an image's is a function of it and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    codebook = data / "codebook.safetensors"
    marking = read_table(data / "codes.parquet", ["label"])["label"].to_pylist()
    labels = sorted(set(marking))
    for split in ("validation", "test"):
        explain_shard(
            folder / f"{split}.parquet",
            data / f"{split}.tar",
            extractor,
            codebook,
            samples=samples,
            noise=noise,
            reduction=reduction,
            batch=importance_batch,
            seed=seed,
            device=device,
        )
    count_important(
        folder / "tokens.parquet",
        [data / "validation.tar"],
        [folder / "validation.parquet"],
        codes=len(load_codebook(codebook, torch.device("cpu"))),
        top_n=[positions],
        tokens=2 * len(marking) // len(labels),
    )
    attribute_images(
        folder / "attributions.parquet",
        [data / "test.tar"],
        [folder / "test.parquet"],
        extractor,
        codebook,
        methods=methods,
        classes=labels,
        images_per_class=attributed_per_class,
        steps=integration_steps,
        samples=samples,
        noise=noise,
        reduction=reduction,
        batch=importance_batch,
        seed=seed,
        device=device,
    )
    search_codebook(
        folder / "search.parquet",
        [data / "test.tar"],
        extractor,
        codebook,
        sources=labels,
        targets=labels[1:] + labels[:1],
        top=top,
        left=left,
        height=height,
        width=width,
        images_per_class=images_per_class,
        steps=steps,
        record_every=steps,
        learning_rate=learning_rate,
        temperature=temperature,
        batch=search_batch,
        seed=seed,
        device=device,
    )

"""Explain the planted benchmark by the run's own stages: importance, concept-level tokens, codebook search."""

from pathlib import Path

import torch

from cortex.core.tables import read_table
from cortex.explain.codebook_search import search_codebook
from cortex.explain.concept_tokens import count_important
from cortex.explain.scores import attribute_images, explain_shard
from cortex.explain.settings import CodebookSearch, ConceptTokens, Importance
from cortex.extractors.codebook import load_codebook
from cortex.studies.attributions.settings import AttributedImages
from cortex.studies.inputs import from_json


def explain_planted(
    folder: Path,
    data: Path,
    extractor: Path,
    *,
    positions: int,
    searched_per_class: int,
    attributions: AttributedImages,
    importance: str = "{}",
    search: str = "{}",
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Explain the validation and test images of a planted variant as a run explains its own.

    Concept-level tokens are counted in the validation images: they are drawn as those of training, and the extractor
    was not trained on them. The codebook search changes every class into the next one.

    Args:
        folder: folder to write validation.parquet and test.parquet (importance by tis), tokens.parquet,
            attributions.parquet and search.parquet to, as the commands importance, concept-tokens, attributions and
            codebook-search do.
        data: folder of the variant, written by the command plant.
        extractor: weights of an extractor trained on it.
        positions: important positions of an image that count for concept-level tokens.
        searched_per_class: test images of every class for the codebook search.
        attributions: attributions beside tis, and the test images that all of them score.
        importance: settings of the token importance, as JSON.
        search: settings of the codebook search, as JSON; pairs, images and records are the benchmark's own.
        seed: seed of the noise and the search, together with the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    codebook = data / "codebook.safetensors"
    importance_settings = from_json(Importance, "importance", importance)
    search_settings = from_json(CodebookSearch, "search", search)
    marking = read_table(data / "codes.parquet", ["label"])["label"].to_pylist()
    labels = sorted(set(marking))
    for split in ("validation", "test"):
        files = folder / f"{split}.parquet", data / f"{split}.parquet"
        explain_shard(*files, extractor, codebook, settings=importance_settings, seed=seed, device=device)
    count_important(
        folder / "tokens.parquet",
        [folder / "validation.parquet"],
        codes=len(load_codebook(codebook, torch.device("cpu"))),
        settings=ConceptTokens(top_n=[positions], tokens=2 * len(marking) // len(labels)),
    )
    attribute_images(
        folder / "attributions.parquet",
        [data / "test.parquet"],
        extractor,
        codebook,
        **dict(attributions),
        importance=importance_settings,
        seed=seed,
        device=device,
    )
    own = {
        "pairs": dict(zip(labels, labels[1:] + labels[:1], strict=True)),
        "images_per_class": searched_per_class,
        "record_every": search_settings.steps,
    }
    search_codebook(
        folder / "search.parquet",
        [data / "test.parquet"],
        extractor,
        codebook,
        settings=search_settings.model_copy(update=own),
        seed=seed,
        device=device,
    )

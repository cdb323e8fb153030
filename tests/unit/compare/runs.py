"""Runs to compare: those of tests/unit/report/example.py, with the further files that a comparison reads."""

import json
from pathlib import Path

import numpy as np
import torch

from cortex.core.weights import write_weights
from cortex.generators.codebook_only import codebook_metadata
from cortex.generators.spec import GeneratorSpec
from tests.unit.report.example import (
    CLASSES,
    CODES,
    EXTRACTORS,
    JUDGES,
    LEVEL_ROWS,
    METHODS,
    TOP_N,
    TRAINED,
    TRAININGS,
    one_training,
    random_images,
    save,
    write_run,
)

NAMES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")
SETTINGS = {
    "generator": {"family": "codebook", "weights": None},
    "importance": {"method": METHODS},
    "concept_tokens": {"top_n": [1, TOP_N], "tokens": 5},
    "evaluation": {"concept_level": {"top_n": [TOP_N]}},
    "extractors": {name: {"network": name, "seeds": len(TRAININGS)} for name in EXTRACTORS},
    "judges": {name: {"network": "vit"} for name in JUDGES},
    "data": {"images": {"train": "none", "validation": "none", "test": "png"}},
}


def right(seed: int, trained: str):
    """Whether a training reads an image right: extractors of seed 1 read most images, those of others every other."""
    share = 0.8 if seed == 1 else 0.4
    return np.random.default_rng([seed, TRAINED.index(trained)]).random(2 * CLASSES) < share


def write_compared_run(folder: Path, seed: int, *, names=NAMES, codebook=0, **settings) -> Path:
    """A run: its grids, judges and accuracies depend on the seed; its concept tokens and masks do not."""
    labels, grids, images = random_images()
    write_run(folder, labels, grids[np.random.default_rng(seed).permutation(len(grids))], images)
    (folder / "settings.json").write_text(json.dumps(SETTINGS | {"run": folder.name, "seed": seed} | settings))
    codes = {"codebook": torch.arange(CODES * 5.0).view(CODES, 5) + codebook}
    for name in ("weights", "codebook"):
        metadata = codebook_metadata(GeneratorSpec(names, (4, 4), CODES, 5))
        write_weights(folder / "generator" / f"{name}.safetensors", codes, metadata)
    for judge in JUDGES:
        write_weights(folder / "judges" / judge / "model.safetensors", {"w": torch.tensor(float(seed))}, {})
    for trained in TRAINED:
        rows = [
            {"split": "test", "key": f"test-{row:06d}", "label": int(labels[row]), "rank": 0 if read else 2}
            for row, read in enumerate(right(seed, trained))
        ]
        save(folder / "evaluation" / "extractor_accuracy" / f"{trained}.parquet", rows)
    return folder


def without_levels(run: Path, folder: Path) -> Path:
    """A copy of the run with one training of each extractor, and without judged levels."""
    one_training(run, folder)
    for name in (*LEVEL_ROWS, "comparisons"):
        (folder / "metrics" / f"{name}.parquet").unlink()
    return folder

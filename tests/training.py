"""Trainings that take a second: what several test files share."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.packed import packed_dtype
from cortex.extractors import extractor_settings
from cortex.extractors.train import train_extractor
from tests.pipeline import CHECKOUT

SMALL = {
    "cnn": {"width": 8, "hidden": 16},
    "cnn_deep": {"width": 8, "hidden": 16},
    "resnet": {"width": 16, "hidden": 16},
    "transformer": {"width": 8, "layers": 2, "heads": 2, "mlp": 16, "hidden": 8},
}
# A judge of real digits, and the same one for the small generator, whose classes the file of names begins with.
JUDGE = {"network": "vit", "images": "digits", "size": 32, "epochs": 1}
ANIMAL_JUDGE = JUDGE | {"class_names": str(CHECKOUT / "tests" / "class_names.txt")}
SETTINGS = {"epochs": 3, "batch": 8, "learning_rate": 1e-2, "step_epochs": 2}
OPTIONS = {"classes": 3, "seed": 3, "device": "cpu"}


def write_tiny_data(folder: Path) -> dict[str, Path]:
    """Packed grids in which the class is the token that fills the grid, and a codebook to read them with."""
    rng = np.random.default_rng(0)
    paths = {}
    for name, count in (("train", 41), ("validation", 10)):
        packed = np.empty(count, packed_dtype((8, 8)))
        packed["label"] = rng.integers(0, 3, count)
        packed["grid"] = np.where(rng.random((count, 8, 8)) < 0.7, packed["label"][:, None, None], 3)
        paths[name] = folder / f"{name}.npy"
        np.save(paths[name], packed)
    paths["codebook"] = folder / "codebook.safetensors"
    write_weights(paths["codebook"], {"codebook": torch.eye(4, 5)}, {})
    return paths


def settings_of(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Settings of a small network and its short training, with those of the changes that are settings."""
    fields = extractor_settings(name).model_fields
    settings = {"network": name} | SETTINGS | SMALL.get(name, {}) | changes
    return {key: value for key, value in settings.items() if key in fields}


def options_of(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Options of the training, with those of the changes that are no settings."""
    return OPTIONS | {key: value for key, value in changes.items() if key not in settings_of(name, changes)}


def run_training(folder: Path, data: dict[str, Path], name: str, **changes: Any) -> tuple[Path, pa.Table]:
    """Train an extractor; its weights' file and its history."""
    output, history = folder / f"{name}.safetensors", folder / f"{name}.parquet"
    settings = extractor_settings(name)(**settings_of(name, changes))
    train_extractor(output, history, **data, settings=settings, **options_of(name, changes))
    return output, read_table(history)


def arguments_of(folder: Path, data: dict[str, Path], name: str, **changes: Any) -> list[str]:
    """Those of the command that does what :func:`run_training` does."""
    files = {"output": folder / f"{name}.safetensors", "history": folder / f"{name}.parquet", **data}
    options = files | settings_of(name, changes) | options_of(name, changes)
    return ["train-extractor", *(f"--{option.replace('_', '-')}={value}" for option, value in options.items())]

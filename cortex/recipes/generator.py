"""Train a generator of labelled pictures: a VQGAN, then a GPT over its token grids."""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.fingerprint import code_fingerprint
from cortex.core.tables import write_table
from cortex.data.pictures import Pictures, read_split
from cortex.generators.taming.generator import save_generator
from cortex.recipes.gpt import gpt_arguments, train_gpt
from cortex.recipes.settings import GeneratorRecipe
from cortex.recipes.vqgan import train_vqgan, vqgan_arguments

HISTORY = pa.schema(
    [
        ("stage", pa.string()),
        ("epoch", pa.int32()),
        ("train_loss", pa.float64()),
        ("held_out_l1", pa.float64()),
        ("codes_used", pa.int32()),
        ("held_out_loss", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
LOCAL = {"images", "held_out", "save_every"}  # settings that the state's identity leaves out: pictures count instead


def train_generator(output: Path, history: Path, *, settings: GeneratorRecipe, device: str = "auto") -> None:
    """Train a generator of labelled pictures: a VQGAN, then a GPT over its token grids.

    Both trainings keep their state beside the output. The same command goes on from there after an interruption.

    Args:
        output: weights to write (safetensors, float16).
        history: Parquet to write: stage (vqgan or gpt), epoch, train_loss, held_out_l1 (VQGAN: mean absolute error of
            pictures in -1..1), codes_used (VQGAN: distinct codes in the grids of the held-out pictures), held_out_loss
            (GPT: nats a token), seconds.
        settings: pictures, networks and training.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: there are no pictures, or they do not fit the recipe.
    """
    if settings.images is None:
        raise InputError("images = None: should be set to labelled pictures: a folder, a Parquet file or tars")
    on = choose_device(device)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as store:
        held_out_source = None if settings.held_out is None else Path(settings.held_out)
        pictures, held_out = read_split(Path(settings.images), held_out_source, settings.size, Path(store))
        rows = _train(output, pictures, held_out, settings, on)
    write_table(history, pa.Table.from_pylist(rows, HISTORY))


def content_digest(images: NDArray[Any], labels: NDArray[np.int64]) -> str:
    """SHA-256 of pictures uint8 ``[N, S, S, 3]`` and their labels ``[N]``."""
    digest = hashlib.sha256(str(images.shape).encode())
    for start in range(0, len(images), 1000):
        digest.update(np.ascontiguousarray(images[start : start + 1000]))
    digest.update(np.ascontiguousarray(labels))
    return digest.hexdigest()


def _train(
    output: Path, pictures: Pictures, held_out: Pictures, recipe: GeneratorRecipe, device: torch.device
) -> list[dict[str, Any]]:
    """Train both networks and write them; the history's rows."""
    classes = len(pictures.class_names)
    if classes + (recipe.label_dropout > 0) > recipe.codes:
        raise InputError(f"codes = {recipe.codes}: should be more than the {classes} classes of the pictures")
    states = {stage: output.with_name(f"{output.name}.{stage}.state") for stage in ("vqgan", "gpt")}
    identity = recipe.model_dump(mode="json", exclude=LOCAL) | {
        "pictures": content_digest(pictures.images, pictures.labels),
        "code": code_fingerprint("cortex.recipes.vqgan:train_vqgan", "cortex.recipes.gpt:train_gpt"),
        "torch": torch.__version__,
    }
    vqgan, rows = train_vqgan(
        pictures.images, held_out.images, recipe=recipe, device=device, state=states["vqgan"], identity=identity
    )
    gpt, more_rows = train_gpt(
        vqgan,
        pictures.images,
        torch.from_numpy(pictures.labels),
        (held_out.images, torch.from_numpy(held_out.labels)),
        classes=classes,
        recipe=recipe,
        device=device,
        state=states["gpt"],
        identity=identity,
    )
    side = vqgan.grid_shape
    architecture = {
        "vqgan": vqgan_arguments(recipe),
        "transformer": gpt_arguments(recipe, recipe.codes, side[0] * side[1]),
        "classes": list(pictures.class_names),
        "null_class": classes if recipe.label_dropout else None,
    }
    save_generator(output, vqgan, gpt, architecture, half=True)
    for state in states.values():
        state.unlink(missing_ok=True)
    return rows + more_rows

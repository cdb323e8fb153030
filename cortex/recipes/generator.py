"""Train a generator of labelled pictures: a perceptual distance, a VQGAN, then a GPT over its token grids."""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.fingerprint import code_fingerprint
from cortex.core.tables import write_table
from cortex.data.picture_sources import find_pictures
from cortex.data.pictures import Pictures, read_split
from cortex.generators.network.architecture import describe
from cortex.generators.network.load import save_generator
from cortex.recipes.gpt import gpt_arguments, train_gpt
from cortex.recipes.loop import History
from cortex.recipes.perceptual import PerceptualDistance, perceptual_distance
from cortex.recipes.settings import GeneratorRecipe
from cortex.recipes.vqgan import train_vqgan, vqgan_arguments

HISTORY = pa.schema(
    [
        ("stage", pa.string()),
        ("epoch", pa.int32()),
        ("train_loss", pa.float64()),
        ("held_out_top1", pa.float64()),
        ("held_out_l1", pa.float64()),
        ("codes_used", pa.int32()),
        ("held_out_loss", pa.float64()),
        ("seconds", pa.float64()),
    ]
)
# Settings that the states' identities leave out: pictures count instead.
LOCAL = {"images", "held_out", "class_names", "save_every"}
# Settings that change nothing before the GPT's training.
OF_GPT = {name for name in GeneratorRecipe.model_fields if name.startswith("gpt_")} | {"dropout", "label_dropout"}


def train_generator(output: Path, history: Path, *, settings: GeneratorRecipe, device: str = "auto") -> None:
    """Train a generator of labelled pictures: a perceptual network, a VQGAN, then a GPT over its token grids.

    The trainings keep their states beside the output. The same command goes on from there after an interruption.

    Args:
        output: weights to write (safetensors, float16).
        history: Parquet to write: stage (perceptual, vqgan or gpt), epoch, train_loss, held_out_top1 (perceptual:
            share of held-out pictures whose class is found), held_out_l1 (VQGAN: mean absolute error of pictures in
            -1..1), codes_used (VQGAN: distinct codes in the grids of the held-out pictures), held_out_loss (GPT: nats
            a token), seconds.
        settings: pictures, networks and training.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: there are no pictures, or they do not fit the recipe.
    """
    if settings.images is None:
        raise InputError("images = None: should be set to labelled pictures: a folder, a Parquet file or tars")
    on = choose_device(device)
    names = None if settings.class_names is None else Path(settings.class_names)
    source = find_pictures(settings.images, names)
    held_out_source = None if settings.held_out is None else find_pictures(settings.held_out, names)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as store:
        pictures, held_out = read_split(source, held_out_source, settings.size, Path(store))
        rows = _train(output, pictures, held_out, settings, on)
    write_table(history, pa.Table.from_pylist(rows, HISTORY))


def _train(
    output: Path, pictures: Pictures, held_out: Pictures, recipe: GeneratorRecipe, device: torch.device
) -> list[dict[str, Any]]:
    """Train both networks and write them; the history's rows."""
    classes = len(pictures.class_names)
    if classes + (recipe.label_dropout > 0) > recipe.codes:
        raise InputError(f"codes = {recipe.codes}: should be more than the {classes} classes of the pictures")
    states = {stage: output.with_name(f"{output.name}.{stage}.state") for stage in ("perceptual", "vqgan", "gpt")}
    of_vqgan = recipe.model_dump(mode="json", exclude=LOCAL | OF_GPT) | {
        "pictures": pictures.digest,
        "code": code_fingerprint("cortex.recipes.vqgan:train_vqgan", "cortex.recipes.perceptual:perceptual_distance"),
        "torch": torch.__version__,
    }
    of_gpt = of_vqgan | recipe.model_dump(mode="json", include=OF_GPT)
    of_gpt["gpt_code"] = code_fingerprint("cortex.recipes.gpt:train_gpt")
    perceptual: PerceptualDistance | None = None
    rows: History = []
    if recipe.perceptual_weight:
        perceptual, rows = perceptual_distance(
            pictures, held_out, recipe=recipe, device=device, state=states["perceptual"], identity=of_vqgan
        )
    vqgan, vqgan_rows = train_vqgan(
        pictures.images,
        held_out.images,
        perceptual=perceptual,
        recipe=recipe,
        device=device,
        state=states["vqgan"],
        identity=of_vqgan,
    )
    gpt, gpt_rows = train_gpt(
        vqgan,
        pictures.images,
        torch.from_numpy(pictures.labels),
        (held_out.images, torch.from_numpy(held_out.labels)),
        classes=classes,
        recipe=recipe,
        device=device,
        state=states["gpt"],
        identity=of_gpt,
    )
    side = vqgan.grid_shape
    architecture = describe(
        "taming",
        vqgan_arguments(recipe),
        gpt_arguments(recipe, recipe.codes, side[0] * side[1]),
        list(pictures.class_names),
        null_class=classes if recipe.label_dropout else None,
    )
    save_generator(output, vqgan, gpt, architecture, half=True)
    for state in states.values():
        state.unlink(missing_ok=True)
    return rows + vqgan_rows + gpt_rows

"""LlamaGen's published files: their names, their tensors' names, and what they leave out."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from cortex.core.errors import InputError
from cortex.generators.class_names import name_classes, read_class_names
from cortex.generators.llamagen.sizes import SIZES
from cortex.generators.network.architecture import describe
from cortex.generators.network.source import Part, Source, first_match, shapes_of
from cortex.generators.network.vqgan_files import Shapes, vqgan_of_shapes

TOKENIZERS = ("vq*.pt", "vq*.safetensors", "model.safetensors")
PRIORS = ("c2i_*.pt", "c2i_*.safetensors")
PIXELS = {"256", "384", "512"}  # sides of images that a prior's name may state
# Counts of codes in training; tables of rotations, which are computed.
DROPPED = (r"quantize\.codebook_used", r"freqs_cis")

CLASSES = "cls_embedding.embedding_table.weight"
CODEBOOK = "quantize.embedding.weight"
MIDDLE = {"0": "block_1", "1": "attn_1", "2": "block_2"}


def source_of(family: str, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
    """What a folder holds: a tokenizer, and a prior or none.

    Raises:
        InputError: files are missing or of no published size; or nothing states the grid.
    """
    path = first_match(folder, TOKENIZERS)
    found = shapes_of(path)
    prior_path = first_match(folder, PRIORS) if any(any(folder.glob(pattern)) for pattern in PRIORS) else None
    side = _side(folder, prior_path, grid, max(_levels(found), 1))
    vqgan, tokenizer = tokenizer_of(path, found, side)
    if prior_path is None:
        names = [] if class_names is None else read_class_names(class_names)
        return Source(describe(family, vqgan, None, names), (tokenizer,))
    prior = prior_of_shapes(shapes_of(prior_path), side, prior_path)
    names = name_classes(class_names, prior["classes"], folder)
    part = Part(prior_path, lambda name: f"transformer.{name}", DROPPED)
    return Source(describe(family, vqgan, prior, names, null_class=prior["classes"]), (part, tokenizer))


def tokenizer_of(path: Path, shapes: Shapes, side: int) -> tuple[dict[str, Any], Part]:
    """A tokenizer's arguments and its file, of the shapes of its tensors, for grids of so many rows and columns.

    Raises:
        InputError: a weight that tells the arguments is missing.
    """
    levels = _levels(shapes)
    return _arguments(path, shapes, side), tokenizer_part(path, levels)


def tokenizer_of_parts(
    paths: list[Path], side: int, *, prefix: str, others: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[Part, ...]]:
    """A tokenizer's arguments and its files, where it is a part of a larger model in one or several files.

    Args:
        paths: files of the model.
        side: rows and columns of a token grid.
        prefix: how the names of the tokenizer's tensors begin.
        others: regular expressions of whole names of all other tensors.

    Raises:
        InputError: a weight that tells the arguments is missing.
    """
    found = {path: shapes_of(path) for path in paths}
    shapes = {
        name.removeprefix(prefix): shape
        for of_path in found.values()
        for name, shape in of_path.items()
        if name.startswith(prefix)
    }
    holding = [path for path, of_path in found.items() if any(name.startswith(prefix) for name in of_path)]
    levels = _levels(shapes)
    parts = tuple(tokenizer_part(path, levels, prefix, others) for path in holding)
    return _arguments(paths[0], shapes, side), parts


def _arguments(path: Path, shapes: Shapes, side: int) -> dict[str, Any]:
    levels = _levels(shapes)
    try:
        return vqgan_of_shapes({taming_name(name, levels): shape for name, shape in shapes.items()}, side)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def tokenizer_part(path: Path, levels: int, prefix: str = "", others: tuple[str, ...] = ()) -> Part:
    """A tokenizer's file, or a part of it, of so many levels."""
    codebook, dropped = f"first_stage_model.{CODEBOOK}", tuple(re.escape(prefix) + name for name in DROPPED)

    def rename(name: str) -> str:
        return f"first_stage_model.{taming_name(name.removeprefix(prefix), levels)}"

    return Part(path, rename, (*dropped, *others), {codebook: unit_vectors})


def _levels(shapes: Shapes) -> int:
    return sum(bool(re.fullmatch(r"decoder\.conv_blocks\.\d+\.res\.0\.conv1\.weight", name)) for name in shapes)


def taming_name(name: str, levels: int) -> str:
    """taming's name of a tokenizer's tensor. The decoder's levels are stored from the lowest resolution on."""
    name = re.sub(r"^(encoder|decoder)\.mid\.([012])\.", lambda match: f"{match[1]}.mid.{MIDDLE[match[2]]}.", name)
    name = re.sub(r"^encoder\.conv_blocks\.(\d+)\.", r"encoder.down.\1.", name)
    name = re.sub(r"^decoder\.conv_blocks\.(\d+)\.", lambda match: f"decoder.up.{levels - 1 - int(match[1])}.", name)
    return re.sub(r"(?<=\.)res(?=\.\d+\.)", "block", name)


def unit_vectors(codebook: Tensor) -> Tensor:
    """Codes of length 1, as the authors look them up."""
    return F.normalize(codebook.float(), dim=1)


def prior_of_shapes(shapes: Shapes, side: int, path: Path) -> dict[str, Any]:
    """Arguments of the prior's network.

    Raises:
        InputError: a weight that tells them is missing; or they are of no published size.
    """
    try:
        (classes, width), (codes, _) = shapes[CLASSES], shapes["output.weight"]
    except (LookupError, ValueError) as error:
        raise InputError(f"{path}: not a class-conditional prior of LlamaGen: {error}") from None
    layers = sum(bool(re.fullmatch(r"layers\.\d+\.attention\.wqkv\.weight", name)) for name in shapes)
    if (width, layers) not in SIZES:
        known = ", ".join(f"{size.name} ({width} × {layers})" for (width, layers), size in SIZES.items())
        raise InputError(f"{path}: a prior of width {width} and {layers} layers: no published size; allowed: {known}")
    return {
        "layers": layers,
        "heads": SIZES[width, layers].heads,
        "width": width,
        "side": side,
        "codes": codes,
        "classes": classes - 1,  # the last one is the null class
    }


def _side(folder: Path, prior: Path | None, grid: tuple[int, int] | None, levels: int) -> int:
    """Rows and columns of a grid, as told, or by the size of images that the prior's name states."""
    parts = [] if prior is None else re.split(r"[_.]", prior.name)
    stated = {int(part) >> (levels - 1) for part in parts if part in PIXELS}
    told = set(grid or ()) or stated
    if len(told) != 1:
        allowed = "set a square generator.grid (--grid), such as [16, 16] or [24, 24]"
        raise InputError(f"{folder}: grid {grid and list(grid)}, and no file's name tells it: {allowed}")
    if stated and told != stated:
        side = stated.pop()
        raise InputError(f"{prior}: its name states a grid of {side} × {side}; grid {list(grid or ())} is another")
    return told.pop()

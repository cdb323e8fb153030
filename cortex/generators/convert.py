"""Convert published checkpoints, or a codebook alone, to a weights file."""

from __future__ import annotations

from pathlib import Path

from cortex.generators.load import load_family
from cortex.generators.recognise import recognise
from cortex.generators.spec import Origin


def convert_generator(
    output: Path,
    *,
    family: str | None = None,
    folder: Path | None = None,
    weights: Path | None = None,
    class_names: Path | None = None,
    grid: tuple[int, int] | None = None,
) -> None:
    """Convert published checkpoints, or a codebook alone, to a weights file.

    Args:
        output: weights to write (safetensors).
        family: generator family: a registered name, or module:Attribute. If not given: of the folder's files, by the
            names of their tensors; of weights, codebook.
        folder: folder of published checkpoints, as their authors ship it. Nothing in a checkpoint is executed.
        weights: codebook alone (safetensors), in place of folder.
        class_names: UTF-8 text file of class names, one a line, in the order of the class indices. If not given: names
            of the source, or "class 0", "class 1" and so on.
        grid: rows and columns of a token grid, if a codebook alone or a folder does not state it.
    """
    if family is None and folder is not None:
        family = recognise(folder)
    load_family(family or "codebook").convert(output, Origin(weights, folder, class_names, grid))

"""The figure of images before and after the codebook search, which decodes the tokens found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.decoded import decoded_rows
from cortex.data.layout import Layout
from cortex.data.tokens import read_tokens
from cortex.evaluate.codebook_level import edited_grids
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator
from cortex.generators.load import load_generator
from cortex.report.draw.images import class_names
from cortex.report.draw.metrics import pairs
from cortex.report.figures import images as figures
from cortex.report.figures.style import Images, save_figure, short
from cortex.report.rows import Row, Rows, distinct, select, short_names

BATCH = 32  # grids decoded at once


def draw_search(
    output: Path,
    tokens: list[Path],
    images: list[Path],
    *,
    extractors: list[str],
    search: list[Path],
    evaluations: list[Path],
    columns: int = 10,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    device: str = "auto",
) -> None:
    """Draw images before and after the codebook search, with one judge's probabilities of the target class.

    Args:
        output: figure to write (png).
        tokens: token tables of the test split.
        images: decoded images (.npy), a file for each of the token tables, in the same order.
        extractors: trained extractors, such as cnn/0.
        search: codebook searches of these extractors, in the same order.
        evaluations: codebook-level rows of the judge for these extractors, in the same order.
        columns: images to show at most, the first ones that were searched.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator; the family's own if not given.
        device: auto, cpu, cuda or cuda:N.
    """
    model = load_generator(generator, choose_device(device), family=family, decode_only=True)
    names = short_names(extractors)
    judged = {name: read_table(path).to_pylist() for name, path in pairs(names, evaluations)}
    chosen = list({row["key"]: row for row in judged[names[0]]}.values())[:columns]
    keys = [row["key"] for row in chosen]
    split = read_tokens(tokens)
    rows = split.rows_of(keys)
    originals = list(decoded_rows(split, images, rows))
    edited = {}
    positions: list[int] = []
    for name, path in pairs(names, search):
        steps = {(row["key"], row["method"], row["step"]): row for row in read_table(path).to_pylist()}
        for method in distinct(judged[name], "method"):
            verdicts = {row["key"]: row for row in select(judged[name], method=method)}
            found = _judged_steps(path, steps, verdicts, keys, method)
            positions = found[0]["positions"]
            new = (np.array([row[column] for row in found], np.int64) for column in ("positions", "tokens"))
            edited[f"{name}\n{method.replace('_', ' ')}"] = [
                (image, verdicts[key]["target_probability_before"], verdicts[key]["target_probability_after"])
                for image, key in zip(_decode(model, edited_grids(split.grids[rows], *new)), keys, strict=True)
            ]
    class_name = class_names(generator, family)
    titles = [f"{short(class_name(row['source']))} →\n{short(class_name(row['target']))}" for row in chosen]
    save_figure(figures.search(originals, titles, edited, _region(positions, split.layout, originals[0])), output)


def _judged_steps(
    path: Path, steps: Mapping[tuple[str, str, int], Row], verdicts: Mapping[str, Row], keys: Sequence[str], method: str
) -> Rows:
    """The records of the search that the judge's rows are of, by key.

    Raises:
        InputError: there is none for an image.
    """
    found = []
    for key in keys:
        if key not in verdicts or (place := (key, method, verdicts[key]["step"])) not in steps:
            raise InputError(f"{path}: nothing found for image {key!r} by {method} at the step that was judged")
        found.append(steps[place])
    return found


def _region(positions: Sequence[int], layout: Layout, image: Images) -> tuple[float, float, float, float]:
    """Top, left, height and width, in pixels of an image, of the rectangle that some positions cover."""
    boxes = layout.boxes((image.shape[0], image.shape[1]))[list(positions)]
    (top, left), (bottom, right) = boxes[:, :2].min(0), (boxes[:, :2] + boxes[:, 2:]).max(0)
    return top, left, bottom - top, right - left


def _decode(model: Generator, grids: NDArray[np.integer[Any]]) -> Images:
    """Images uint8 ``[N, H, W, 3]`` of grids ``[N, h, w]``."""
    parts = torch.from_numpy(grids).split(BATCH)
    return np.concatenate([model.decode(part).cpu().numpy() for part in parts])

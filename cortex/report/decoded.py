"""Figures for which tokens are decoded: what a token looks like, and images before and after the codebook search."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cortex.device import choose_device
from cortex.errors import InputError
from cortex.generate.generator import Generator, load_generator
from cortex.report import figures
from cortex.report.curves import pairs
from cortex.report.pictures import image_of, read_images
from cortex.tables import read_table

BATCH = 32  # grids decoded at once


def draw_tokens(
    output: Path,
    frequency: Path,
    *,
    extractors: list[str],
    tokens: list[Path],
    top_n: int,
    generator: Path | None = None,
    classes: int = 10,
    patches: int = 8,
    device: str = "auto",
) -> None:
    """Draw every class's first concept-level tokens, and its most frequent ones, decoded to patches.

    Args:
        output: figure to write (png).
        frequency: the most frequent tokens.
        extractors: names of the extractors.
        tokens: their concept-level tokens, in the same order.
        top_n: which of the concept-level token lists to show.
        generator: weights file of the generator; the embedded digits generator if not given.
        classes: classes to show at most.
        patches: tokens of a list.
        device: auto, cpu, cuda or cuda:N.
    """
    frequent = _lists(frequency, None)
    labels = sorted(frequent)[:classes]
    lists = {f"{extractor}, top {top_n}": _lists(path, top_n) for extractor, path in pairs(extractors, tokens)}
    lists["most frequent"] = frequent
    for title, of_label in lists.items():
        if missing := [label for label in labels if label not in of_label]:
            raise InputError(f"{title}: no tokens of class {missing[0]}")
    model = load_generator(generator, choose_device(device))
    shown = {title: [of_label[label][:patches] for label in labels] for title, of_label in lists.items()}
    patch_of = decode_patches(model, sorted({token for rows in shown.values() for row in rows for token in row}))
    figure = figures.tokens(
        [model.class_names[label] for label in labels],
        {title: [[patch_of[token] for token in row] for row in rows] for title, rows in shown.items()},
        {
            title: [[token not in frequent[label] for token in row] for label, row in zip(labels, rows, strict=True)]
            for title, rows in shown.items()
        },
    )
    figures.save_figure(figure, output)


def decode_patches(model: Generator, tokens: list[int]) -> dict[int, figures.Images]:
    """By token, the patch uint8 ``[P, Q, 3]`` that covers the centre position of a grid filled with that token."""
    height, width = model.grid_shape
    grids = np.tile(np.array(tokens)[:, None, None], (1, height, width))
    images = _decode(model, grids)
    rows, columns = images.shape[1] // height, images.shape[2] // width
    top, left = height // 2 * rows, width // 2 * columns
    return dict(zip(tokens, images[:, top : top + rows, left : left + columns], strict=True))


def draw_search(
    output: Path,
    shards: list[Path],
    *,
    extractors: list[str],
    search: list[Path],
    evaluations: list[Path],
    generator: Path | None = None,
    images: int = 10,
    device: str = "auto",
) -> None:
    """Draw images before and after the codebook search, with what one judge says of them.

    Args:
        output: figure to write (png).
        shards: tars of the test split.
        extractors: names of the extractors.
        search: results of their codebook searches, in the same order.
        evaluations: the judge's codebook-level rows for them, in the same order.
        generator: weights file of the generator; the embedded digits generator if not given.
        images: images to show at most, the first that were searched; shards hold the classes in turn.
        device: auto, cpu, cuda or cuda:N.
    """
    model = load_generator(generator, choose_device(device))
    judged = {extractor: read_table(path).to_pylist() for extractor, path in pairs(extractors, evaluations)}
    chosen = list({row["key"]: row for row in judged[extractors[0]]}.values())[:images]
    keys = [row["key"] for row in chosen]
    found = {}
    for sample in read_images(shards):
        if sample.key in keys:
            found[sample.key] = sample
            if len(found) == len(keys):
                break
    if missing := set(keys) - found.keys():
        raise InputError(f"{evaluations[0]}: image {min(missing)!r} is not in {shards[0].parent}")
    edited = {}
    positions: list[int] = []
    for extractor, path in pairs(extractors, search):
        steps = {(row["key"], row["method"], row["step"]): row for row in read_table(path).to_pylist()}
        for method in dict.fromkeys(row["method"] for row in judged[extractor]):
            verdicts = {row["key"]: row for row in judged[extractor] if row["method"] == method}
            grids = []
            for key in keys:
                if key not in verdicts or (place := (key, method, verdicts[key]["step"])) not in steps:
                    raise InputError(f"{path}: nothing found for image {key!r} by {method} at the step that was judged")
                positions = steps[place]["positions"]
                grid = found[key].grid.astype(np.int64).ravel()
                grid[positions] = steps[place]["tokens"]
                grids.append(grid.reshape(found[key].grid.shape))
            edited[f"{extractor}\n{method.replace('_', ' ')}"] = [
                (image, verdicts[key]["target_probability_before"], verdicts[key]["target_probability_after"])
                for image, key in zip(_decode(model, np.stack(grids)), keys, strict=True)
            ]
    names = [
        f"{figures.short(model.class_names[row['source']])} → {figures.short(model.class_names[row['target']])}"
        for row in chosen
    ]
    originals = [image_of(found[key]) for key in keys]
    rows, columns = np.divmod(positions, model.grid_shape[1])
    size = np.array(originals[0].shape[:2]) / model.grid_shape
    corner = np.array([rows.min(), columns.min()]) * size
    extent = np.array([np.ptp(rows) + 1, np.ptp(columns) + 1]) * size
    figures.save_figure(figures.search(originals, names, edited, (*corner, *extent)), output)


def _lists(path: Path, top_n: int | None) -> dict[int, list[int]]:
    """By label, the tokens of a token table, the first first; of those counted among the top-n if given."""
    lists: dict[int, list[int]] = {}
    for row in sorted(read_table(path).to_pylist(), key=lambda row: row["rank"]):
        if top_n is None or row["top_n"] == top_n:
            lists.setdefault(row["label"], []).append(row["token"])
    if not lists:
        raise InputError(f"{path}: no tokens for top_n = {top_n}")
    return lists


def _decode(model: Generator, grids: NDArray[np.integer]) -> figures.Images:
    """Images uint8 ``[N, H, W, 3]`` of grids ``[N, h, w]``."""
    parts = torch.from_numpy(grids).split(BATCH)
    return np.concatenate([model.decode(part).cpu().numpy() for part in parts])

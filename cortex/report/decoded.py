"""The figure for which tokens are decoded: images before and after the codebook search."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.generators.taming.generator import Generator, load_generator
from cortex.report import figures
from cortex.report.curves import pairs
from cortex.report.pictures import image_of, read_images

BATCH = 32  # grids decoded at once


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
    model = load_generator(generator, choose_device(device), decode_only=True)
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


def _decode(model: Generator, grids: NDArray[np.integer]) -> figures.Images:
    """Images uint8 ``[N, H, W, 3]`` of grids ``[N, h, w]``."""
    parts = torch.from_numpy(grids).split(BATCH)
    return np.concatenate([model.decode(part).cpu().numpy() for part in parts])

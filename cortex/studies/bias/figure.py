"""The figure of a property: images of every class that have least and most of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.generators import DEFAULT_FAMILY
from cortex.report.draw.images import class_names
from cortex.report.figures.image_grid import ImageGrid
from cortex.report.figures.style import Images, save_figure, short, styled
from cortex.studies.bias.measure import Decode, decoder, iterate_pictures


def draw_property(
    output: Path,
    values: list[Path],
    shards: list[Path],
    *,
    name: str,
    classes: int = 10,
    per_class: int = 6,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    device: str = "auto",
) -> None:
    """Draw the images of every class that have least and most of a property.

    Args:
        output: figure to write (png).
        values: measured properties (measure-property) of a split's shards.
        shards: WebDataset tars of the split, in the same order.
        name: of the property.
        classes: number of classes to show at most.
        per_class: images of a class at either end, at most a third of its images.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator that decodes missing images; the family's own if not given.
        device: auto, cpu, cuda or cuda:N.
    """
    if len(values) != len(shards):
        raise InputError(f"{len(values)} files of values, {len(shards)} shards: one of each is needed")
    tables = [read_table(path, ["key", "label", "value"]) for path in values]
    chosen = choose_extremes(pa.concat_tables(tables), classes, per_class)
    wanted = {key for ends in chosen.values() for end in ends for key in end}
    holding = [shard for shard, table in zip(shards, tables, strict=True) if wanted & set(table["key"].to_pylist())]
    images = _read_images(holding, wanted, decoder(generator, family, device))
    class_name = class_names(generator, family)
    shown = {
        class_name(label): ([images[key] for key in low], [images[key] for key in high])
        for label, (low, high) in chosen.items()
    }
    save_figure(extremes(name, shown), output)


def choose_extremes(values: pa.Table, classes: int, per_class: int) -> dict[int, tuple[list[str], list[str]]]:
    """Keys of the images with the lowest values, ascending, and with the highest, descending, by class.

    Args:
        values: key, label, value.
        classes: classes at most, by label.
        per_class: images at either end, at most a third of the class's.
    """
    labels, keys = values["label"].to_numpy(), np.array(values["key"].to_pylist())
    found = {}
    for label in np.unique(labels)[:classes].tolist():
        rows = np.flatnonzero(labels == label)
        ordered: NDArray[np.str_] = keys[rows[np.argsort(values["value"].to_numpy()[rows], kind="stable")]]
        count = min(per_class, len(rows) // 3)
        found[label] = ordered[:count].tolist(), ordered[::-1][:count].tolist()
    return found


@styled
def extremes(name: str, images: dict[str, tuple[list[Images], list[Images]]]) -> Figure:
    """Images of every class in a row: those with least of a property, then those with most.

    Args:
        name: of the property.
        images: by the class's name, uint8 ``[H, W, 3]`` each.
    """
    width = max(len(low) for low, _ in images.values())
    rows = [[*low, *[None] * (width + 1 - len(low)), *high] for low, high in images.values()]
    shown = ImageGrid(rows, [short(class_name) for class_name in images])
    shown.write_above(0, f"low {name}", align="left")
    shown.write_above(width + 1, f"high {name}", align="left")
    return shown.figure


def _read_images(shards: Sequence[Path], keys: set[str], decode: Decode) -> dict[str, Images]:
    """Images by key."""
    return {
        sample.key: np.array(image)
        for shard in shards
        for samples, images in iterate_pictures(shard, decode)
        for sample, image in zip(samples, images, strict=True)
        if sample.key in keys
    }

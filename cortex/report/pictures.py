"""Figures drawn from shards: samples of every class, and importance laid over images."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from cortex.errors import InputError
from cortex.report import figures
from cortex.report.curves import pairs
from cortex.shards.read import Sample, read_shard
from cortex.tables import read_table

OUTLINED = 5  # positions of highest importance; captions/importance.rst names the number


def draw_samples(output: Path, shards: list[Path], *, classes: int = 10, images: int = 12) -> None:
    """Draw the first images of the first classes.

    Args:
        output: figure to write (png).
        shards: tars of a split; read from the first until enough images are found.
        classes: classes to show at most.
        images: images of a class.
    """
    found = first_of_classes(shards, classes, images)
    pictures = [[image_of(sample) for sample in samples] for samples in found.values()]
    names = [class_name(samples[0]) for samples in found.values()]
    figures.save_figure(figures.samples(names, pictures), output)


def draw_importance(
    output: Path, shard: Path, *, extractors: list[str], importance: list[Path], classes: int = 10
) -> None:
    """Draw the importance that every extractor gives to the positions of an image, for one image of a class.

    Args:
        output: figure to write (png).
        shard: a tar of the test split.
        extractors: names of the extractors.
        importance: the shard's importance files, in the same order.
        classes: classes to show at most.
    """
    samples = [of_class[0] for of_class in first_of_classes([shard], classes, 1).values()]
    names = {sample.label: class_name(sample) for sample in samples}
    scores, misread = {}, {}
    for extractor, path in pairs(extractors, importance):
        table = read_table(path, ["key", "predicted", "importance"])
        table = table.filter(pc.is_in(table["key"], pc.cast([sample.key for sample in samples], "string")))
        row_of = {row["key"]: row for row in table.to_pylist()}
        for sample in samples:
            if sample.key not in row_of:
                raise InputError(f"{path}: no image {sample.key!r}, which is in {shard}")
            if len(row_of[sample.key]["importance"]) != sample.grid.size:
                raise InputError(f"{path}: image {sample.key!r}: not one score for each of {sample.grid.size} tokens")
        rows = [row_of[sample.key] for sample in samples]
        scores[extractor] = [
            np.array(row["importance"]).reshape(sample.grid.shape) for row, sample in zip(rows, samples, strict=True)
        ]
        misread[extractor] = [
            None if row["predicted"] == sample.label else names.get(row["predicted"], f"class {row['predicted']}")
            for row, sample in zip(rows, samples, strict=True)
        ]
    pictures = [image_of(sample) for sample in samples]
    figures.save_figure(figures.importance(pictures, list(names.values()), scores, misread, OUTLINED), output)


def first_of_classes(shards: list[Path], classes: int, each: int) -> dict[int, list[Sample]]:
    """The first samples, with images, of the classes that come first; by label, ascending.

    No more than them is held in memory, and nothing is read after the last of them.
    """
    found: dict[int, list[Sample]] = {}
    for sample in read_images(shards):
        if sample.label in found or len(found) < classes:
            of_class = found.setdefault(sample.label, [])
            if len(of_class) < each:
                of_class.append(sample)
                if len(found) == classes and all(len(samples) == each for samples in found.values()):
                    break
    return dict(sorted(found.items()))


def read_images(shards: list[Path]) -> Iterator[Sample]:
    """The samples of shards with their images, read as they are asked for."""
    return chain.from_iterable(read_shard(shard, images=True) for shard in shards)


def image_of(sample: Sample) -> figures.Images:
    """The image of a sample read with it."""
    assert sample.image is not None
    return sample.image


def class_name(sample: Sample) -> str:
    """What the shard calls the sample's class; its index where it does not say."""
    return str(sample.info.get("class_name", sample.label))

"""Figures drawn from shards: samples of every class, importance laid over images, and what tokens look like."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.shard_reader import Sample, read_shard
from cortex.report import figures
from cortex.report.curves import pairs

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


def draw_tokens(
    output: Path,
    shards: list[Path],
    frequency: Path,
    *,
    extractors: list[str],
    tokens: list[Path],
    top_n: int,
    classes: int = 10,
    patches: int = 20,
) -> None:
    """Draw every class's first concept-level tokens, and its most frequent ones, as what the decoder made of them.

    Args:
        output: figure to write (png).
        shards: tars whose images show what a token looks like: the mean over all positions that hold it.
        frequency: the most frequent tokens.
        extractors: names of the extractors.
        tokens: their concept-level tokens, in the same order.
        top_n: which of the concept-level token lists to show.
        classes: classes to show at most.
        patches: tokens of a list.
    """
    frequent = token_lists(frequency, None)
    labels = sorted(frequent)[:classes]
    lists = {f"{name}, top_n = {top_n}": token_lists(path, top_n) for name, path in pairs(extractors, tokens)}
    lists["most frequent"] = frequent
    for title, of_label in lists.items():
        if missing := [label for label in labels if label not in of_label]:
            raise InputError(f"{title}: no tokens of class {missing[0]}")
    shown = {title: [of_label[label][:patches] for label in labels] for title, of_label in lists.items()}
    names: dict[int, str] = {}

    def named() -> Iterator[Sample]:
        for sample in read_images(shards):
            names.setdefault(sample.label, class_name(sample))
            yield sample

    patch_of = mean_patches(named(), sorted({token for rows in shown.values() for row in rows for token in row}))
    figure = figures.tokens(
        [names.get(label, f"class {label}") for label in labels],
        {title: [[patch_of.get(token) for token in row] for row in rows] for title, rows in shown.items()},
        {
            title: [[token not in frequent[label] for token in row] for label, row in zip(labels, rows, strict=True)]
            for title, rows in shown.items()
        },
    )
    figures.save_figure(figure, output)


def mean_patches(samples: Iterable[Sample], tokens: list[int]) -> dict[int, figures.Images]:
    """By token, the mean patch uint8 ``[P, Q, 3]`` of the images at the positions that hold it; no entry if none do.

    A token decoded without its context, such as a grid filled with it, shows little: the decoder looks at the
    neighbours, and never saw such grids.
    """
    place = np.full(1 << 16, -1)
    place[tokens] = np.arange(len(tokens))
    totals: NDArray[np.int64] | None = None
    counts = np.zeros(len(tokens), np.int64)
    for sample in samples:
        image, (height, width) = image_of(sample), sample.grid.shape
        rows, columns = image.shape[0] // height, image.shape[1] // width
        patches = image.reshape(height, rows, width, columns, 3).swapaxes(1, 2).reshape(-1, rows, columns, 3)
        if totals is None:
            totals = np.zeros((len(tokens), *patches.shape[1:]), np.int64)
        places = place[sample.grid.ravel()]
        np.add.at(totals, places[places >= 0], patches[places >= 0])
        np.add.at(counts, places[places >= 0], 1)
    assert totals is not None  # a shard holds at least one sample
    return {
        token: np.round(total / count).astype(np.uint8)
        for token, total, count in zip(tokens, totals, counts, strict=True)
        if count
    }


def token_lists(path: Path, top_n: int | None) -> dict[int, list[int]]:
    """By label, the tokens of a token table, the first first; of those counted among the top-n if given.

    Raises:
        InputError: there are none.
    """
    lists: dict[int, list[int]] = {}
    for row in sorted(read_table(path).to_pylist(), key=lambda row: row["rank"]):
        if top_n is None or row["top_n"] == top_n:
            lists.setdefault(row["label"], []).append(row["token"])
    if not lists:
        raise InputError(f"{path}: no tokens" + (f" for top_n = {top_n}" if top_n is not None else ""))
    return lists


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

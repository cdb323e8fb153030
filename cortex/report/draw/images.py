"""Figures of a split's images: samples of every class, and importance laid over images."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.decoded import decoded_of
from cortex.data.tokens import read_tokens
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import generator_spec, load_generator
from cortex.report.draw.metrics import pairs
from cortex.report.figures import images as figures
from cortex.report.figures.style import Images, save_figure
from cortex.report.rows import short_names

OUTLINED = 5  # positions of highest importance; captions/importance.rst names the number


def draw_samples(
    output: Path,
    tokens: list[Path],
    images: list[Path],
    *,
    classes: int = 10,
    per_class: int = 12,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
) -> None:
    """Draw the first images of the first classes.

    Args:
        output: figure to write (png).
        tokens: token tables of a split; read from the first until enough images are found.
        images: decoded images (.npy), a file for each of the token tables, in the same order.
        classes: number of classes to show at most.
        per_class: images of a class.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, for the names of the classes; the family's own if not given.
    """
    found = first_of_classes(tokens, images, classes, per_class)
    name = class_names(generator, family)
    pictures = [[image for image, _ in of_class] for of_class in found.values()]
    save_figure(figures.samples([name(label) for label in found], pictures), output)


def draw_reconstruction(
    output: Path,
    tokens: list[Path],
    images: list[Path],
    *,
    classes: int = 6,
    per_class: int = 10,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    device: str = "auto",
) -> None:
    """Draw the first pictures of the first classes, and below them their decoded tokens.

    Args:
        output: figure to write (png).
        tokens: token tables of a split; read from the first until enough pictures are found.
        images: decoded images (.npy), a file for each of the token tables, in the same order.
        classes: number of classes to show at most.
        per_class: pictures of a class.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator; the family's own if not given.
        device: auto, cpu, cuda or cuda:N.
    """
    model = load_generator(generator, choose_device(device), family=family, decode_only=True)
    found = first_of_classes(tokens, images, classes, per_class)
    name = class_names(generator, family)
    pictures = [[image for image, _ in of_class] for of_class in found.values()]
    grids = [np.stack([grid for _, grid in of_class]) for of_class in found.values()]
    decoded = [list(model.decode(torch.from_numpy(each)).cpu().numpy()) for each in grids]
    save_figure(figures.reconstruction([name(label) for label in found], pictures, decoded), output)


def draw_importance(
    output: Path,
    *,
    extractors: list[str],
    scores: list[Path],
    images: Path,
    classes: int = 10,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
) -> None:
    """Draw the token importance by every extractor over one image of every class.

    Args:
        output: figure to write (png).
        extractors: trained extractors, such as cnn/0.
        scores: importance files of one shard by these extractors, in the same order.
        images: decoded images of the shard (.npy).
        classes: number of classes to show at most.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, for the names of the classes; the family's own if not given.
    """
    tables = {name: read_tokens(path, ["importance"]) for name, path in pairs(short_names(extractors), scores)}
    first = next(iter(tables.values()))
    of_label: dict[int, int] = {}
    for row, label in enumerate(first.labels.tolist()):
        if len(of_label) < classes:
            of_label.setdefault(label, row)
    rows, labels = [of_label[label] for label in sorted(of_label)], sorted(of_label)
    pixels, name = decoded_of(first, images), class_names(generator, family)
    grids, misread, outlined = {}, {}, {}
    for (extractor, table), path in zip(tables.items(), scores, strict=True):
        if table.keys != first.keys:
            raise InputError(f"{path}: not of the same images, in the same order, as {first.path}")
        predicted = read_table(path, ["predicted"])["predicted"].to_pylist()
        of_rows, boxes = table.scores["importance"][rows], table.layout.boxes(pixels.shape[1:3])
        grids[extractor] = [table.layout.heat(each) for each in of_rows]
        outlined[extractor] = [boxes[np.argsort(-each, kind="stable")[:OUTLINED]] for each in of_rows]
        misread[extractor] = [
            None if predicted[row] == label else name(predicted[row]) for row, label in zip(rows, labels, strict=True)
        ]
    shown = [np.asarray(pixels[row]) for row in rows]
    save_figure(figures.importance(shown, [name(label) for label in labels], grids, misread, outlined), output)


def first_of_classes(
    tokens: Sequence[Path], images: Sequence[Path], classes: int, per_class: int
) -> dict[int, list[tuple[Images, NDArray[np.int64]]]]:
    """The first images of the classes that come first, with their grids; by label, ascending.

    Files after the last of them are not read.

    Args:
        tokens: token tables.
        images: decoded images (npy) of each.
        classes: classes at most.
        per_class: images of a class.
    """
    if len(tokens) != len(images):
        raise InputError(f"{len(tokens)} token tables, {len(images)} files of images: one of each a shard")
    found: dict[int, list[tuple[Images, NDArray[np.int64]]]] = {}
    for table, path in zip(tokens, images, strict=True):
        of_shard = read_tokens(table)
        pixels, grids = decoded_of(of_shard, path), of_shard.grids
        for row, label in enumerate(of_shard.labels.tolist()):
            if label in found or len(found) < classes:
                of_class = found.setdefault(label, [])
                if len(of_class) < per_class:
                    of_class.append((np.asarray(pixels[row]), grids[row].copy()))  # not a view of the shard
        if len(found) == classes and all(len(of_class) == per_class for of_class in found.values()):
            break
    return dict(sorted(found.items()))


def class_names(generator: Path | None, family: str) -> Callable[[int], str]:
    """The name of a class index; "class 3" where the generator has none."""
    names = generator_spec(generator, family).class_names
    return lambda label: names[label] if label < len(names) else f"class {label}"

"""Labelled pictures that a run imports: their labels are read before anything is planned."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from cortex.config.schema import Config
from cortex.core.errors import InputError
from cortex.core.messages import shown_value
from cortex.data.given_pictures import picture_size
from cortex.data.picture_sources import PictureSource, find_pictures
from cortex.data.settings import SPLITS
from cortex.generators.class_names import ambiguous, match_names
from cortex.generators.spec import GeneratorSpec


def find_imported(config: Config) -> dict[str, PictureSource]:
    """The pictures of every split that pictures make; one source for all splits is read once.

    Raises:
        InputError: a source or its class names cannot be read; its key is named.
    """
    found: dict[tuple[str | None, str | None], PictureSource] = {}
    by_split = {}
    for split, imported in config.data.imports.pictures().items():
        place = (imported.images, imported.class_names)
        try:
            if place not in found:
                names = None if imported.class_names is None else Path(imported.class_names)
                found[place] = find_pictures(str(imported.images), names)
        except InputError as error:
            raise InputError(f"config: {_key(config, split)} = {shown_value(imported.images)}: {error}") from None
        by_split[split] = found[place]
    return by_split


def picture_checks(config: Config, spec: GeneratorSpec, pictures: Mapping[str, PictureSource]) -> Iterator[str]:
    """Problems of pictures that do not fit the generator, the run's classes or its numbers of images, by key."""
    counts, divided = config.data.per_class, config.data.imports.images is not None
    sources = [(each.images, split) for split, each in config.data.imports.pictures().items()]
    for images, split in sources if not divided else []:
        other = next(name for path, name in sources if Path(str(path)).resolve() == Path(str(images)).resolve())
        if other != split:
            where = f"{_key(config, split)} = {shown_value(images)}"
            yield f"{where}: the pictures of {other}, too: set data.imports.images, which divides them"
    for split, source in pictures.items():
        where = f"{_key(config, split)} = {shown_value(source.name)}"
        if not spec.encodes:
            yield f"{where}: the generator has no encoder, which pictures need"
        for name in ambiguous(spec.class_names, source.class_names):
            yield f"{where}: class {shown_value(name)}: several classes of the generator have this name"
        indices = match_names(spec.class_names, source.class_names)
        for name, index in zip(source.class_names, indices, strict=True):
            if index < 0:
                of = "the train split" if config.data.imports.pictures_alone() else "the generator"
                yield f"{where}: class {shown_value(name)}: {of} has none of this name"
        found = np.bincount(source.labels, minlength=len(source.class_names))
        needed, words = getattr(counts, split), f"data.per_class.{split} asks for {getattr(counts, split)}"
        if divided:
            needed = sum(getattr(counts, each) for each in SPLITS)
            words = f"data.per_class asks for {' + '.join(str(getattr(counts, each)) for each in SPLITS)}"
        by_label = dict(zip(indices, found.tolist(), strict=True))
        for label in config.classes(spec):
            if label < len(spec.class_names) and by_label.get(label, 0) < needed:
                name = shown_value(spec.class_names[label])
                yield f"{where}: class {name} has {by_label.get(label, 0)} pictures; {words}"


def given_size(config: Config, spec: GeneratorSpec) -> tuple[int, int] | None:
    """(height, width) of pictures that stand beside imported grids, of the first of every split; None: there are none.

    Raises:
        InputError: they cannot be read, do not fit the grid, or differ in size; the key is named.
    """
    first: tuple[str, tuple[int, int]] | None = None
    for split, imported in config.data.imports.chosen().items():
        if imported.pictures is None or not os.path.isfile(str(imported.source)):
            continue
        key = f"data.imports.{split}.pictures"
        try:
            (height, width) = size = picture_size(imported.pictures, Path(str(imported.source)), spec.map)
        except InputError as error:
            raise InputError(f"config: {key} = {shown_value(imported.pictures)}: {error}") from None
        first = first or (key, size)
        if size != first[1]:
            other = f"{first[0]} has {first[1][1]}×{first[1][0]}"
            raise InputError(f"config: {key} = {shown_value(imported.pictures)}: {width}×{height} pixels; {other}")
    return None if first is None else first[1]


def _key(config: Config, split: str) -> str:
    return "data.imports.images" if config.data.imports.images is not None else f"data.imports.{split}.images"

"""Labelled pictures of one size as a memory-mapped array, to train judges and generators on, or to encode."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cortex.core.errors import InputError, quoted
from cortex.core.files import whole_file
from cortex.core.progress import progress
from cortex.data.packed import map_array
from cortex.data.picture_sources import Content, PictureSource
from cortex.data.pixels import ENCODERS, decode_picture, fitted
from cortex.generators.class_names import match_names

BATCH = 32  # pictures that are decoded at a time
HELD_OUT_EVERY = 10


@dataclass(frozen=True, eq=False)
class Pictures:
    """Labelled pictures of one size.

    Args:
        images: uint8 ``[N, H, W, 3]``, mapped into memory.
        labels: class indices, int64 ``[N]``.
        class_names: by class index.
        places: file, member or row of every picture.
        digest: SHA-256 of images, labels and class names.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    places: tuple[str, ...]
    digest: str

    def __len__(self) -> int:
        return len(self.labels)


def read_pictures(source: PictureSource, size: int, store: Path) -> Pictures:
    """Decode a source's pictures, some at a time: RGB, upright, the middle square, resized without aliasing.

    Args:
        source: the pictures.
        size: height and width of the result.
        store: folder in which ``pictures.part`` is written. The result maps the file, which must stay as long as the
            result is used.

    Raises:
        InputError: a picture is damaged, too large or no image; its file, member or row is named.
    """
    return store_pictures(source, (size, size), store / "pictures.part", _all(source))


def read_split(
    source: PictureSource, held_out: PictureSource | None, size: int, store: Path
) -> tuple[Pictures, Pictures]:
    """Pictures to train on and pictures to measure on, as :func:`read_pictures` gives them.

    Args:
        source: the pictures to train on.
        held_out: those to measure on, of the same classes by name; None: the source's own, or else every tenth picture
            of each class of the source.
        size: height and width of the pictures.
        store: folder in which ``train.part`` and ``held_out.part`` are written.

    Raises:
        InputError: as :func:`read_pictures`; or the held-out pictures have other classes, or none would be held out.
    """
    train, apart, shape = store / "train.part", store / "held_out.part", (size, size)
    held_out = held_out or source.held_out
    if held_out is not None:
        other = _relabelled(held_out, source)
        return (
            store_pictures(source, shape, train, _all(source)),
            store_pictures(other, shape, apart, _all(other)),
        )
    chosen = every_tenth(source.labels)
    if not chosen.any():
        raise InputError(f"{source.name}: fewer than {HELD_OUT_EVERY} pictures of every class; no tenth to hold out")
    return store_pictures(source, shape, train, ~chosen), store_pictures(source, shape, apart, chosen)


def every_tenth(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a picture is the tenth, twentieth, ... of its class: bool ``[N]``."""
    chosen = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return chosen


def _all(source: PictureSource) -> NDArray[np.bool_]:
    return np.ones(len(source), np.bool_)


def store_pictures(source: PictureSource, shape: tuple[int, int], path: Path, chosen: NDArray[np.bool_]) -> Pictures:
    """The chosen pictures, written to a file in the format of ``.npy``: RGB, upright, the middle, resized.

    Args:
        source: the pictures.
        shape: (height, width) of the result.
        path: file to write, which the result maps.
        chosen: bool ``[N]``.

    Raises:
        InputError: as :func:`read_pictures`.
    """
    labels, places = source.labels[chosen], []
    digest = hashlib.sha256(repr((len(labels), shape, source.class_names)).encode() + labels.tobytes())
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), *shape, 3)}
    decoded = _decoded(source, shape, chosen)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        npy.write_array_header_1_0(file, header)
        for where, image in progress(decoded, len(labels), f"reading {source.name}", "picture"):
            places.append(where)
            file.write(image.data)
            digest.update(image.data)
    images = map_array(path, "pictures", "c")
    return Pictures(images, labels, source.class_names, tuple(places), digest.hexdigest())


def _decoded(
    source: PictureSource, shape: tuple[int, int], chosen: NDArray[np.bool_]
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """The places and chosen pictures, of a size, in their order; decoded by several threads, a batch at a time."""

    def decode(item: tuple[str, Content]) -> tuple[str, NDArray[np.uint8]]:
        where, content = item
        image = decode_picture(content, where) if isinstance(content, bytes) else content
        return where, np.ascontiguousarray(fitted(image, shape))

    found = 0

    def wanted() -> Iterator[tuple[str, Content]]:
        nonlocal found
        for item in source.contents():
            found += 1
            if found <= len(chosen) and chosen[found - 1]:
                yield item

    items = wanted()
    with ThreadPoolExecutor(ENCODERS) as pool:
        while batch := list(islice(items, BATCH)):
            yield from pool.map(decode, batch)
    if found != len(source):
        raise InputError(f"{source.name}: changed while it was read: {len(source)} labels, {found} pictures")


def _relabelled(held_out: PictureSource, source: PictureSource) -> PictureSource:
    """Held-out pictures with the class indices of the source."""
    indices = match_names(source.class_names, held_out.class_names)
    unknown = [name for name, index in zip(held_out.class_names, indices, strict=True) if index < 0]
    if unknown:
        raise InputError(
            f"{held_out.name}: classes that {source.name} does not have: {quoted(unknown)}; "
            f"those are {quoted(source.class_names)}"
        )
    return PictureSource(held_out.name, np.array(indices)[held_out.labels], source.class_names, held_out.contents)

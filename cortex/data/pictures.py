"""Labelled pictures of one size as a memory-mapped array, for the training of judges and generators."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cortex.core.errors import InputError, shown
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
        images: uint8 ``[N, S, S, 3]``, mapped into memory.
        labels: class indices, int64 ``[N]``.
        class_names: by class index.
        digest: SHA-256 of all of these.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
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
    return _stored(source, size, store / "pictures.part", _all(source))


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
    train, apart = store / "train.part", store / "held_out.part"
    held_out = held_out or source.held_out
    if held_out is not None:
        other = _relabelled(held_out, source)
        return _stored(source, size, train, _all(source)), _stored(other, size, apart, _all(other))
    chosen = every_tenth(source.labels)
    if not chosen.any():
        raise InputError(f"{source.name}: fewer than {HELD_OUT_EVERY} pictures of every class; no tenth to hold out")
    return _stored(source, size, train, ~chosen), _stored(source, size, apart, chosen)


def every_tenth(labels: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a picture is the tenth, twentieth, ... of its class: bool ``[N]``."""
    chosen = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        chosen[np.flatnonzero(labels == label)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return chosen


def _all(source: PictureSource) -> NDArray[np.bool_]:
    return np.ones(len(source), np.bool_)


def _stored(source: PictureSource, size: int, path: Path, chosen: NDArray[np.bool_]) -> Pictures:
    """The chosen pictures, written to a file in the format of ``.npy``."""
    labels = source.labels[chosen]
    digest = hashlib.sha256(repr((len(labels), size, source.class_names)).encode() + labels.tobytes())
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(labels), size, size, 3)}
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        npy.write_array_header_1_0(file, header)
        for image in progress(_decoded(source, size, chosen), len(labels), f"reading {source.name}", "picture"):
            file.write(image.data)
            digest.update(image.data)
    return Pictures(map_array(path, "pictures", "c"), labels, source.class_names, digest.hexdigest())


def _decoded(source: PictureSource, size: int, chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.uint8]]:
    """The chosen pictures, of a size, in their order; decoded by several threads, a batch at a time."""

    def decode(item: tuple[str, Content]) -> NDArray[np.uint8]:
        where, content = item
        image = decode_picture(content, where) if isinstance(content, bytes) else content
        return np.ascontiguousarray(fitted(image, (size, size)))

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
            f"{held_out.name}: classes that {source.name} does not have: {', '.join(map(shown, unknown))}; "
            f"those are {', '.join(map(shown, source.class_names))}"
        )
    return PictureSource(held_out.name, np.array(indices)[held_out.labels], source.class_names, held_out.contents)

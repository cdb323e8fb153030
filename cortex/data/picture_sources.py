"""Labelled pictures that others keep: class folders, WebDataset tars, tables; and the digits of the package.

Labels are read first, pictures when they are asked for, some at a time. Nothing is unpickled, executed or unpacked to
disk. Errors name the file, member or row.
"""

import hashlib
import os
import re
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cortex.core.errors import InputError, quoted, shown
from cortex.core.files import leads_back, state_of
from cortex.data.digits import CLASS_NAMES as DIGITS_NAMES
from cortex.data.digits import DIGITS, Part, digit_images
from cortex.generators.class_names import read_class_names

LONGEST_NAME = 200  # characters of a class
MOST_CLASSES = 1 << 16

Content = bytes | NDArray[np.uint8]  # of an image's file, or an image uint8 [H, W, 3]

_NUMBER = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)


@dataclass(frozen=True, eq=False)
class PictureSource:
    """Labelled pictures, none of which is decoded yet.

    Args:
        name: what to call them in errors.
        labels: indices of their classes, int64 ``[N]``.
        class_names: by class index.
        contents: gives each picture's place, for errors, and its content, in the order of the labels.
        held_out: pictures that are kept apart for measuring, where the source has some of its own.
    """

    name: str
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    contents: Callable[[], Iterator[tuple[str, Content]]]
    held_out: "PictureSource | None" = None

    def __len__(self) -> int:
        return len(self.labels)


class _Kind(NamedTuple):
    """How the pictures of a source are read.

    Args:
        labels: gives each picture's place and class, as text.
        contents: gives each picture's place and content.
        files: gives the files that hold them.
        names: of classes that are numbers, where the source states them.
    """

    labels: Callable[[], Iterable[tuple[str, str]]]
    contents: Callable[[], Iterator[tuple[str, Content]]]
    files: Callable[[], Iterable[Path]]
    names: Sequence[str] | None = None


def find_pictures(source: str, class_names: Path | None = None) -> PictureSource:
    """The labelled pictures of a source. Its classes are those that occur, in the order of their numbers or names.

    Args:
        source: one of
            a folder of class folders, whose names are the classes (ImageFolder), of PNG, JPEG, WebP or TIFF files;
            a WebDataset tar or a folder of tars: an image and ``.cls``, a number or text, of every sample;
            a Parquet file or a folder of them: columns ``image`` (binary, or a struct with ``bytes``) and ``label``
            (a number, whose name the metadata may state as Hugging Face's does, or text);
            a folder that ``save_to_disk`` of Hugging Face's datasets wrote: Arrow files with the same columns;
            digits: the real digits of the package.
        class_names: text file of class names, one a line, where the source's classes are numbers from 0.

    Raises:
        InputError: there is no such source, or a label is missing or no class; its place is named.
    """
    kind = _kind_of(source)
    names = kind.names if class_names is None else read_class_names(class_names)
    labels, found = _indexed(source, kind.labels(), names)
    if options := [name for name in found if name.startswith("-")]:
        raise InputError(f"{source}: class {shown(options[0])}: should not begin with a hyphen, as options do")
    held_out = None
    if source == DIGITS:
        apart = _digits("held_out")
        held_out = PictureSource(source, _indexed(source, apart.labels(), names)[0], found, apart.contents)
    return PictureSource(source, labels, found, kind.contents, held_out)


def stated_classes(source: str, class_names: Path | None = None) -> tuple[str, ...] | None:
    """The classes that a source may have, where they are stated and no label must be read to know them; else None.

    Raises:
        InputError: there is no such source.
    """
    names: Sequence[str] | None = _kind_of(source).names
    if class_names is not None:
        names = read_class_names(class_names)
    elif source != DIGITS and _holds(Path(source)) == "folders":
        names = _class_folders(Path(source))
    return None if names is None else tuple(names)


def pictures_state(source: str) -> str:
    """The files of a source, by names, sizes and times, in words: they may be too many to be inputs of a rule.

    Raises:
        InputError: there is no such source.
    """
    digest, count = hashlib.sha256(), 0
    for path in _kind_of(source).files():
        digest.update(repr((str(path), *state_of(path))).encode())
        count += 1
    return f"{source}: {count} files: {digest.hexdigest()[:16]}"


def _kind_of(source: str) -> _Kind:
    if source == DIGITS:
        return _digits("train")
    path = Path(source)
    held = _holds(path)
    if held == "folders":
        return _folders(path)
    files = sorted(each for each in path.glob(f"*.{held}") if _counts(each)) if path.is_dir() else [path]
    if held == "tar":
        from cortex.data import picture_tars

        return _Kind(lambda: picture_tars.labels(files), lambda: picture_tars.contents(files), lambda: files)
    from cortex.data import picture_tables

    names = picture_tables.class_names(files)
    return _Kind(lambda: picture_tables.labels(files), lambda: picture_tables.contents(files), lambda: files, names)


def _holds(path: Path) -> str:
    """What a path holds: ``tar``, ``parquet``, ``arrow`` or class ``folders``."""
    endings = {".tar": "tar", ".parquet": "parquet", ".arrow": "arrow"}
    if path.is_file():
        if path.suffix not in endings:
            raise InputError(f"{path}: unknown kind of file; allowed: {', '.join(endings)}, or a folder")
        return endings[path.suffix]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; allowed, too: {DIGITS}")
    if (path / "dataset_dict.json").is_file():
        raise InputError(
            f"{path}: several splits of a data set; name the folder of one: {quoted(_class_folders(path))}"
        )
    found = {endings[each.suffix] for each in path.iterdir() if each.suffix in endings and _counts(each)}
    if _class_folders(path):
        found.add("folders")
    if len(found) != 1:
        some = " and ".join(sorted(found)) or "none of them"
        raise InputError(f"{path}: a folder of class folders, of tars, Parquet or Arrow files is needed; it has {some}")
    return found.pop()


def _counts(path: Path) -> bool:
    """Whether a file of a folder holds pictures: results that Hugging Face's datasets cached beside them do not."""
    return path.is_file() and not (path.suffix == ".arrow" and path.name.startswith("cache-"))


def _class_folders(path: Path) -> list[str]:
    return sorted(each.name for each in os.scandir(path) if each.is_dir() and not each.name.startswith("."))


def _folders(root: Path) -> _Kind:
    """Pictures by class folder; hidden files are left out, and so are files beside the folders."""
    from cortex.data.pixels import read_content

    def files() -> Iterator[tuple[Path, str]]:
        for name in _class_folders(root):
            found = 0
            for folder, inside, files in os.walk(root / name, followlinks=True):
                inside[:] = sorted(
                    each for each in inside if not each.startswith(".") and not leads_back(Path(folder, each))
                )
                for file in sorted(each for each in files if not each.startswith(".")):
                    found += 1
                    yield Path(folder, file), name
            if not found:
                raise InputError(f"{root / name}: holds no pictures")

    return _Kind(
        lambda: ((str(path), name) for path, name in files()),
        lambda: ((str(path), read_content(path)) for path, _ in files()),
        lambda: (path for path, _ in files()),
    )


def _digits(part: Part) -> _Kind:
    def places() -> Iterator[str]:
        return (f"{DIGITS}: {part} {number}" for number in range(len(digit_images(part)[1])))

    return _Kind(
        lambda: zip(places(), map(str, digit_images(part)[1].tolist()), strict=True),
        lambda: zip(places(), digit_images(part)[0], strict=True),
        tuple,
        DIGITS_NAMES,
    )


def _indexed(
    source: str, found: Iterable[tuple[str, str]], names: Sequence[str] | None
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class indices int64 ``[N]`` of labels, and the names of the classes that occur.

    Args:
        source: what to call the pictures in errors.
        found: place and class of every picture.
        names: of classes that are numbers from 0; None: numbers stand for themselves.
    """
    places: dict[str, int] = {}  # of the classes, in the order in which they occur first
    indices = array("q")
    for where, label in found:
        if label not in places:
            if names is not None and not (_NUMBER.fullmatch(label) and int(label) < len(names)):
                raise InputError(f"{where}: label {shown(label)}: allowed: 0 to {len(names) - 1}, classes with a name")
            named = bool(label.strip()) and label.isprintable() and len(label) <= LONGEST_NAME
            if not named or len(places) >= MOST_CLASSES:
                raise InputError(
                    f"{where}: label {shown(label)}: a class is a number from 0, or text of 1 to {LONGEST_NAME} "
                    f"characters on one line, and there are at most {MOST_CLASSES}"
                )
        indices.append(places.setdefault(label, len(places)))
    if not places:
        raise InputError(f"{source}: holds no pictures")
    numbers = all(_NUMBER.fullmatch(label) for label in places)
    ranked = sorted(places, key=int) if numbers else sorted(places)
    ranks = np.empty(len(ranked), np.int64)
    ranks[[places[label] for label in ranked]] = np.arange(len(ranked))
    of_classes = ranked if names is None else [names[int(label)] for label in ranked]
    return ranks[np.frombuffer(indices, np.int64)], tuple(of_classes)

"""Labelled pictures in WebDataset tars, as any tool writes them: names with folders, and extended headers, are read."""

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cortex.core.errors import InputError, shown
from cortex.data.pixels import EXTENSIONS, MAX_BYTES
from cortex.data.tar_reader import read_members

IMAGES = (*EXTENSIONS.values(), "jpeg", "tif", "tiff")
LONGEST = 1 << 16  # bytes of a class

Sample = dict[str, tuple[str, bytes]]  # by kind: the member's place, and its content if it is read


def labels(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """The place and class of every sample: the text of its member ``.cls``."""
    for path in paths:
        for sample in _samples(path, {"cls": LONGEST}):
            where, content = sample["cls"]
            try:
                yield where, content.decode("utf-8-sig").strip()
            except UnicodeDecodeError:
                raise InputError(f"{where}: not UTF-8 text") from None


def contents(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """The place and content of every sample's image."""
    for path in paths:
        for sample in _samples(path, dict.fromkeys(IMAGES, MAX_BYTES)):
            yield from (found for kind, found in sample.items() if kind != "cls")


def _samples(path: Path, limits: Mapping[str, int]) -> Iterator[Sample]:
    """The image and class of every sample: of consecutive members whose names are alike up to the first dot.

    Args:
        path: the tar.
        limits: most bytes of the kinds that are read; the contents of others are left empty.
    """
    current, members = "", Sample()
    for member in read_members(path):
        if member.info.type == tarfile.DIRTYPE:
            continue
        if not member.regular:
            raise InputError(f"{member.where}: neither a regular file nor a folder")
        folder, _, base = member.name.rpartition("/")
        stem, _, extension = base.partition(".")
        if not stem:  # hidden, as those that macOS adds
            continue
        key, kind = f"{folder}/{stem}", extension.rpartition(".")[2].lower()
        if key != current:
            yield from _whole(path, current, members)
            current, members = key, Sample()
        if kind in members:
            raise InputError(f"{member.where}: the second .{kind} of its sample")
        if kind in ("cls", *IMAGES):
            members[kind] = member.where, member.content(limits[kind]) if kind in limits else b""
    yield from _whole(path, current, members)


def _whole(path: Path, key: str, members: Sample) -> Iterator[Sample]:
    """The sample, if there is one, with all that it needs."""
    if not key:
        return
    where, images = f"{path}: sample {shown(key.removeprefix('/'))}", sorted(members.keys() - {"cls"})
    if "cls" not in members:
        raise InputError(f"{where}: its member .cls is missing")
    if len(images) != 1:
        raise InputError(f"{where}: {' and '.join(images) or 'no image'}; one of {', '.join(IMAGES)} is needed")
    yield members

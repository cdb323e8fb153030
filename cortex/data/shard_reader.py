"""Read shards that may come from anywhere: nothing is unpacked to disk, executed, or read beyond a set size."""

import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cortex.core.errors import InputError, reason_of, shown
from cortex.data.pixels import FORMATS, MAX_BYTES, decode_image
from cortex.data.tar_reader import read_members

# The largest member of each kind that is read into memory, in bytes.
MEMBER_LIMITS = {"tokens.npy": 1 << 20, "cls": 32, "json": 1 << 16, **dict.fromkeys(FORMATS, MAX_BYTES)}
MAX_LABEL = (1 << 16) - 1  # labels are packed as uint16
CHECKSUMS = "crc32"  # key of a sample's JSON: by kind, the checksums of its members

# The header of a token grid, as NumPy writes it: matched, since NumPy's own parser evaluates it as Python.
_GRID_HEADER = re.compile(
    rb"\{'descr': '<u2', 'fortran_order': False, 'shape': \((\d{1,6}), (\d{1,6})\), \} *\n", re.ASCII
)


@dataclass
class Sample:
    """One image of a shard.

    Args:
        key: unique name in the data set, without dots.
        label: class index.
        grid: token grid uint16 ``[h, w]``.
        image: uint8 ``[H, W, 3]``, or None where the shard has none or it was not asked for.
        info: what else is known, e.g. the seed and the class name.
    """

    key: str
    label: int
    grid: NDArray[np.uint16]
    image: NDArray[np.uint8] | None = None
    info: dict[str, Any] = field(default_factory=dict)


def read_shard(path: Path, *, images: bool | Literal["any"] = False, codes: int | None = None) -> Iterator[Sample]:
    """Yield the samples of a shard in their order, reading it once from front to back.

    Args:
        path: the tar.
        images: decode the images too, of which a sample without is an error; "any": of the samples that have one.
            If False, they are skipped.
        codes: codes in the codebook; a token outside is an error.

    Raises:
        InputError: the tar is missing, truncated or damaged, or a member is not what a shard holds; it is named.
    """
    seen: set[str] = set()
    shape: tuple[int, ...] | None = None
    for key, members in _members_by_key(path, skip=() if images else tuple(FORMATS)):
        if key in seen:
            raise InputError(f"{path}: key {shown(key)} appears twice; keys are unique")
        seen.add(key)
        for extension in ("tokens.npy", "cls"):
            if extension not in members:
                raise InputError(f"{path}: member {_named(key)}.{extension} is missing")
        pictures = [extension for extension in FORMATS if extension in members]
        if len(pictures) > 1:
            raise InputError(f"{path}: key {shown(key)} has several images: {', '.join(pictures)}")
        if images is True and not pictures:
            raise InputError(f"{path}: member {_named(key)}.png is missing, or another image: {', '.join(FORMATS)}")
        where = f"{path}: member {_named(key)}"
        grid = parse_grid(members["tokens.npy"], f"{where}.tokens.npy", codes)
        if shape is not None and grid.shape != shape:
            raise InputError(f"{where}.tokens.npy: a grid of {grid.shape}, others of this shard are {shape}")
        shape = grid.shape
        info = _parse_info(members["json"], f"{where}.json") if "json" in members else {}
        _check(members, info, where, skipped=() if images else tuple(FORMATS))
        yield Sample(
            key=key,
            label=_parse_label(members["cls"], f"{where}.cls"),
            grid=grid,
            image=_image(members, pictures, where) if images else None,
            info=info,
        )
    if not seen:
        raise InputError(f"{path}: holds no samples")


def _named(key: str) -> str:
    """A key, not too long, as the beginning of a member's name."""
    return shown(key)[1:-1]


def _members_by_key(path: Path, skip: tuple[str, ...]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Group the consecutive members of one key; WebDataset's convention: a key ends at the first dot."""
    current, members = "", dict[str, bytes]()
    for name, content in _members(path, skip):
        key, _, extension = name.partition(".")
        if key != current:
            if members:
                yield current, members
            current, members = key, {}
        if extension in members:
            raise InputError(f"{path}: member {shown(name)} appears twice")
        members[extension] = content
    if members:
        yield current, members


def _members(path: Path, skip: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Name and content of every member; the contents of the kinds in ``skip`` are not read."""
    if not path.is_file():
        raise InputError(f"{path}: no such shard")
    for member in read_members(path):
        name, where = member.name, member.where
        if not member.regular:
            raise InputError(f"{where}: not a regular file; a shard holds nothing else")
        key, _, extension = name.partition(".")
        if not key or not name.isprintable() or set(name) & set("/\\"):
            raise InputError(f"{where}: a name is printable, has no folder and starts with its key")
        if extension not in MEMBER_LIMITS:
            raise InputError(f"{where}: unknown kind; allowed: {', '.join(MEMBER_LIMITS)}")
        member.check_size(MEMBER_LIMITS[extension])
        yield name, b"" if extension in skip else member.content(MEMBER_LIMITS[extension])


def parse_grid(content: bytes, where: str, codes: int | None) -> NDArray[np.uint16]:
    """A token grid ``[h, w]`` from the bytes of a ``.npy`` file; ``where`` is named in errors."""
    if content[:8] != b"\x93NUMPY\x01\x00":
        raise InputError(f"{where}: not an npy file of format version 1.0")
    start = 10 + int.from_bytes(content[8:10], "little")
    header = content[10:start]
    match = _GRID_HEADER.fullmatch(header)
    if match is None:
        raise InputError(f"{where}: header {_shown(header)}; expected row-major '<u2' (uint16) of shape (h, w)")
    shape = int(match[1]), int(match[2])
    data = content[start:]
    if min(shape) < 1 or len(data) != 2 * shape[0] * shape[1]:
        raise InputError(f"{where}: {len(data)} bytes of data for shape {shape}, expected {2 * shape[0] * shape[1]}")
    grid = np.frombuffer(data, "<u2").reshape(shape)
    if codes is not None and int(grid.max()) >= codes:
        raise InputError(f"{where}: token {int(grid.max())}; allowed: 0 to {codes - 1}")
    return grid


def _parse_label(content: bytes, where: str) -> int:
    if not content.isdigit() or int(content) > MAX_LABEL:
        raise InputError(f"{where}: {_shown(content)} is not a class index, 0 to {MAX_LABEL}")
    return int(content)


def _image(members: dict[str, bytes], pictures: list[str], where: str) -> NDArray[np.uint8] | None:
    return decode_image(members[pictures[0]], pictures[0], f"{where}.{pictures[0]}") if pictures else None


def _parse_info(content: bytes, where: str) -> dict[str, Any]:
    try:
        info = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON: {reason_of(error)}") from None
    if not isinstance(info, dict):
        raise InputError(f"{where}: a JSON {type(info).__name__}, expected an object")
    return info


def checksums(members: dict[str, bytes], info: dict[str, Any]) -> dict[str, int]:
    """CRC-32 of the members by kind, and under ``json`` of what is known of the sample."""
    content = members | {"json": json.dumps(info, sort_keys=True).encode()}
    return {kind: zlib.crc32(content[kind]) for kind in sorted(content)}


def _check(members: dict[str, bytes], info: dict[str, Any], where: str, *, skipped: tuple[str, ...]) -> None:
    """Hold the members against the checksums in ``info``, and take these out; a tar from elsewhere may have none."""
    stated = info.pop(CHECKSUMS, None)
    if stated is None:
        return
    if not isinstance(stated, dict):
        raise InputError(f"{where}.json: {CHECKSUMS} is a JSON {type(stated).__name__}, expected an object")
    found = checksums({kind: content for kind, content in members.items() if kind != "json"}, info)
    for kind, value in stated.items():
        if kind not in found:
            raise InputError(f"{where}.{_named(kind)} is missing")
        if kind not in skipped and found[kind] != value:
            raise InputError(f"{where}.{kind}: damaged: its checksum is not the one in {CHECKSUMS}")


def _shown(content: bytes) -> str:
    return repr(content if len(content) <= 100 else content[:97] + b"...")

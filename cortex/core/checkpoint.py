"""The tensors of a published checkpoint, without executing anything in it.

A checkpoint of PyTorch Lightning keeps its tensors beside pickled objects of whatever was installed where it was
trained. :mod:`cortex.core.pickled` reads data and tensors of the pickles, and nothing else.

Three formats: a zip of one uncompressed member a storage (``torch.save`` of PyTorch from 1.6 on; taming-transformers'
environment of 2021 has 1.7), the older one, five pickles and then the storages one after another (which Lightning also
wrote with PyTorch 1.6), and safetensors.
"""

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cortex.core.errors import InputError, listed, reason_of, shown
from cortex.core.file_kinds import CHECKPOINT, PICKLE, SAFETENSORS, ZIP, kind_of, not_whole
from cortex.core.pickled import MAX_SIZE, Inert, Storage, StoredTensor, load_pickle
from cortex.core.weights import check_finite

# Of the pickles, and of the zip's directory; the ImageNet transformer of 1.4 B parameters needs 1 % of it.
MAX_BYTES = 32 << 20
CHUNK = 8 << 20  # bytes of a tensor held at a time
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
NESTED = ("state_dict", "model", "module", "model_state_dict")  # where trainers keep the tensors, beside other things
WRAPPERS = ("module.", "_orig_mod.")  # what DistributedDataParallel and torch.compile put before every name
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}  # of safetensors


class Checkpoint:
    """An open checkpoint: ``tensors`` by their names in its state dict, and the bytes of each.

    The state dict is one of :data:`NESTED`, or the checkpoint itself; a tensor alone is called ``tensor``.
    ``unread`` names what it holds that is neither data nor a tensor as torch.save describes them: perhaps tensors of an
    unknown kind.
    """

    def __init__(self, path: Path, file: "_File"):
        self.path, self._file = path, file
        with _named_errors(path):
            kind = kind_of(file.at(0, min(file.bytes, 9)))
            if kind not in READERS:
                raise ValueError("it begins neither as torch.save nor as safetensors writes a file")
            content, self._place = READERS[kind](file)
            state = _state_of(content)
            self.tensors = {name: value for name, value in state.items() if isinstance(value, StoredTensor)}
            self.unread = sorted(name for name, value in state.items() if isinstance(value, Inert))
        self._whole: set[str] = set()  # keys of the storages whose checksum was found right

    def chunks(self, tensor: StoredTensor) -> Iterator[bytes]:
        """The tensor's elements as bytes, little-endian and in row-major order, some megabytes at a time.

        Raises:
            InputError: the file is truncated, the storage's checksum is wrong (the legacy format has none), or the
                tensor repeats or leaves out elements between its first and its last.
        """
        with _named_errors(self.path):
            start, checksum = self._place(tensor.storage)
            size = tensor.storage.dtype.itemsize
            if checksum is not None and tensor.storage.key not in self._whole:
                found = 0
                for chunk in self._file.chunks(start, tensor.storage.elements * size):
                    found = zlib.crc32(chunk, found)
                if found != checksum:
                    raise ValueError(f"the checksum of storage {shown(tensor.storage.key)} is wrong")
                self._whole.add(tensor.storage.key)
            chunks = self._file.chunks(start + tensor.offset * size, tensor.reach * size)
            if tensor.row_major:
                yield from chunks
            elif tensor.reach == tensor.elements:
                yield _in_row_major_order(tensor, bytearray().join(chunks))
            else:
                raise InputError(f"a tensor of shape {tensor.shape} is kept as {tensor.reach:,} elements")


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a checkpoint to read its tensors.

    Raises:
        InputError: the file is missing, damaged, or neither a state dict nor a checkpoint with one.
    """
    try:
        file = _File(path)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    with file:
        yield Checkpoint(path, file)


def read_state(path: Path) -> dict[str, Tensor]:
    """All tensors of a checkpoint by name, in memory.

    Raises:
        InputError: the file is missing, damaged, or neither a state dict nor a checkpoint with one; or a number in a
            tensor is not finite.
    """
    with open_checkpoint(path) as opened:
        described = opened.tensors.values()
        # Weights may be tied, two names of one storage; a million names of one would be a bomb.
        if sum(tensor.elements * tensor.storage.dtype.itemsize for tensor in described) > 2 * path.stat().st_size:
            raise InputError(f"{path}: its tensors are more than twice the file")
        state = {name: in_memory(tensor, opened) for name, tensor in opened.tensors.items()}
    for name, tensor in state.items():
        check_finite(tensor, path, name)
    return state


def in_memory(tensor: StoredTensor, opened: Checkpoint) -> Tensor:
    """A tensor of an open checkpoint, read."""
    content = bytearray().join(opened.chunks(tensor))
    if not content:
        return torch.empty(tensor.shape, dtype=tensor.storage.dtype)
    return torch.frombuffer(content, dtype=tensor.storage.dtype).view(tensor.shape)


def _state_of(content: Any) -> dict[str, Any]:
    """The state dict of a checkpoint's content, without what wrappers put before all names."""
    if isinstance(content, StoredTensor):
        return {"tensor": content}
    parts = content if isinstance(content, dict) else {}
    nested = [name for name, part in parts.items() if _has_tensors(part)]
    # Beside numbers, such as a loss.
    own = any(isinstance(part, StoredTensor) and part.shape for part in parts.values())
    nested = [name for name in nested if name in NESTED] or ([] if own else nested)
    if len(nested) > 1:
        raise InputError(f"it has several state dicts, {listed(nested)}: save the one that is meant, alone")
    state = content[nested[0]] if nested else content
    if not _has_tensors(state):
        what = f"an object {shown(f'{content.module}.{content.name}')}" if isinstance(content, Inert) else "data"
        what = f"a dictionary of {listed(list(parts)) or 'nothing'}" if isinstance(content, dict) else what
        raise InputError(f"no state dict with tensors, but {what}: save the network's state_dict()")
    tensors = [name for name, value in state.items() if isinstance(value, StoredTensor)]
    prefix = ""
    while wrapper := next((each for each in WRAPPERS if all(n.startswith(prefix + each) for n in tensors)), None):
        prefix += wrapper
    return {name.removeprefix(prefix): value for name, value in state.items()}


def _has_tensors(state: Any) -> bool:
    return isinstance(state, dict) and any(isinstance(value, StoredTensor) for value in state.values())


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Let errors name the file; all but an :class:`InputError`, of what a whole file holds, are of a damaged file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except (ValueError, OSError) as error:
        raise not_whole(path, CHECKPOINT, error) from None


class _File(io.BufferedReader):
    """A file that is never asked for more than :data:`MAX_BYTES` at once, so that damaged lengths cost nothing."""

    def __init__(self, path: Path):
        super().__init__(io.FileIO(path))
        self.bytes = self.seek(0, io.SEEK_END)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_BYTES:
            raise ValueError(f"a part of {size:,} bytes is longer than any should be")
        return super().read(size)

    def at(self, start: int, size: int) -> bytes:
        """Exactly the bytes ``start`` to ``start + size``."""
        if not 0 <= start <= start + size <= self.bytes:
            raise ValueError(f"bytes {start:,} to {start + size:,} are missing: it has {self.bytes:,}")
        self.seek(start)
        found = self.read(size)
        if len(found) != size:
            raise ValueError(f"byte {start + len(found):,} cannot be read")
        return found

    def chunks(self, start: int, size: int) -> Iterator[bytes]:
        for position in range(start, start + size, CHUNK):
            yield self.at(position, min(CHUNK, start + size - position))


# Where a storage's bytes begin, and their CRC-32 if the format has one. Raises ValueError.
Place = Callable[[Storage], tuple[int, int | None]]


def _read_zip(file: _File) -> tuple[Any, Place]:
    """The pickle ``<folder>/data.pkl``; the storages are ``<folder>/data/<key>``, none of them compressed."""
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, struct.error, OverflowError, IndexError) as error:
        raise ValueError(f"the zip is truncated or damaged: {reason_of(error)}") from None
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError("a zip archive, but not as torch.save writes it: it has no data.pkl, or several")
    folder = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and _small_member(file, order) != b"little":
        raise InputError("its numbers are big-endian; allowed: little-endian")

    def place(storage: Storage) -> tuple[int, int | None]:
        member = members.get(f"{folder}data/{storage.key}")
        if member is None or member.file_size != storage.elements * storage.dtype.itemsize:
            raise ValueError(f"storage {shown(storage.key)} is missing or not {storage.elements:,} elements long")
        return _member_start(file, member), member.CRC

    return load_pickle(io.BytesIO(_small_member(file, members[pickles[0]])), {}), place


def _member_start(file: _File, member: zipfile.ZipInfo) -> int:
    """Where the bytes of an uncompressed member begin: behind its local header."""
    if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size or member.flag_bits & 1:
        raise ValueError(f"member {shown(member.filename)} is compressed or encrypted")
    header = file.at(member.header_offset, 30)
    if header[:4] != b"PK\x03\x04":
        raise ValueError(f"member {shown(member.filename)} is not where the zip's directory says")
    name, extra = struct.unpack("<26x2H", header)
    return member.header_offset + 30 + name + extra


def _small_member(file: _File, member: zipfile.ZipInfo) -> bytes:
    """A member's bytes, checked against their CRC-32."""
    content = file.at(_member_start(file, member), member.file_size)
    if zlib.crc32(content) != member.CRC:
        raise ValueError(f"the checksum of {shown(member.filename)} is wrong")
    return content


def _read_legacy(file: _File) -> tuple[Any, Place]:
    """Pickles: a magic number, the version, the machine, the content, the storages' keys; then the storages.

    Each storage is its number of elements (int64) and the elements.
    """
    storages: dict[str, Storage] = {}
    head = io.BytesIO(file.at(0, min(file.bytes, MAX_BYTES)))
    if load_pickle(head, storages) != LEGACY_MAGIC or load_pickle(head, storages) != 1001:
        raise InputError("a pickle, but not as torch.save writes it")
    system = load_pickle(head, storages)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("its numbers are big-endian; allowed: little-endian")
    content, keys = load_pickle(head, storages), load_pickle(head, storages)
    starts: dict[Storage, int] = {}
    position = head.tell()
    for key in keys if isinstance(keys, list) else [None]:
        storage = storages.get(key) if isinstance(key, str) else None
        if storage is None or int.from_bytes(file.at(position, 8), "little") != storage.elements:
            raise ValueError(f"byte {position:,} does not begin a storage as its pickle describes it")
        starts[storage] = position + 8
        position += 8 + storage.elements * storage.dtype.itemsize
    if position > file.bytes:
        raise ValueError(f"it is truncated: {position:,} bytes are described, {file.bytes:,} are there")

    def place(storage: Storage) -> tuple[int, int | None]:
        if storage not in starts:
            raise ValueError(f"storage {shown(storage.key)} is missing")
        return starts[storage], None

    return content, place


def _read_safetensors(file: _File) -> tuple[Any, Place]:
    """The length of a JSON header (uint64), the header, the tensors, all row-major."""
    length = int.from_bytes(file.at(0, 8), "little")
    try:
        header = json.loads(file.at(8, length))
        header.pop("__metadata__", None)
        described = {name: _described(name, **entry) for name, entry in header.items()}
    except InputError:
        raise
    except (AttributeError, TypeError, LookupError, RecursionError, ValueError) as error:
        raise ValueError(f"its header is damaged: {reason_of(error)}") from None
    starts = {storage: 8 + length + start for storage, start in described.values()}
    content = {
        storage.key: StoredTensor(storage, 0, shape := tuple(header[storage.key]["shape"]), _row_major(shape))
        for storage in starts
    }
    return content, lambda storage: (starts[storage], None)


def _described(name: str, dtype: str, shape: list[int], data_offsets: list[int]) -> tuple[Storage, int]:
    """A tensor of a safetensors header as a storage of its own, and where that begins after the header."""
    if dtype not in DTYPES:
        raise InputError(f"tensor {shown(name)} is of type {shown(dtype)}; allowed: {', '.join(DTYPES)}")
    (start, end), kind = data_offsets, DTYPES[dtype]
    if not all(type(number) is int and 0 <= number < MAX_SIZE for number in (start, end, *shape)):
        raise ValueError(f"tensor {shown(name)} has an impossible shape or place")
    if end - start != math.prod(shape) * kind.itemsize:
        raise ValueError(f"tensor {shown(name)} of shape {tuple(shape)} has {end - start:,} bytes")
    return Storage(name, kind, math.prod(shape)), start


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[place + 1 :]) for place in range(len(shape)))


def _in_row_major_order(tensor: StoredTensor, content: bytearray) -> bytes:
    """The bytes of a strided tensor from those of the stretch of storage that it reaches over."""
    stretch = torch.frombuffer(content, dtype=tensor.storage.dtype)
    return stretch.as_strided(tensor.shape, tensor.stride).flatten().view(torch.uint8).numpy().tobytes()


READERS = {ZIP: _read_zip, PICKLE: _read_legacy, SAFETENSORS: _read_safetensors}

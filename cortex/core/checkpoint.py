"""The tensors of a checkpoint written by ``torch.save``, without unpickling it.

A checkpoint of PyTorch Lightning keeps its tensors beside pickled objects of whatever was installed where it was
trained, and unpickling executes what a pickle names. Here a pickle is interpreted by a machine that knows data and
tensors only: anything else becomes an inert name, and nothing is imported or called.

Two formats: a zip of one uncompressed member a storage (PyTorch from 1.6 on; taming-transformers' environment of
2021 has 1.7), and the older one, five pickles and then the storages one after another (which Lightning also wrote
with PyTorch 1.6).
"""

import io
import math
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cortex.core.errors import InputError, shown

# What a hostile file may cost; the ImageNet transformer of 1.4 B parameters needs 1 % and 10 % of them.
MAX_BYTES = 32 << 20  # of the pickles, and of the zip's directory
MAX_STEPS = 1_000_000  # opcodes of a pickle; each holds on to some hundred bytes at most

CHUNK = 8 << 20  # bytes of a tensor held at a time
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}


@dataclass(frozen=True)
class Storage:
    """A one-dimensional array in the file: its key there, type and number of elements."""

    key: str
    dtype: torch.dtype
    elements: int


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage: element (i, j, …) is at ``offset + i · stride[0] + j · stride[1] + …``.

    It lies within its storage.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def elements(self) -> int:
        """PackedLinear of the shape."""
        return math.prod(self.shape)

    @property
    def reach(self) -> int:
        """Elements of the storage from the tensor's first to its last."""
        if not self.elements:
            return 0
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))

    @property
    def row_major(self) -> bool:
        """Whether the elements lie one after another, the last index fastest."""
        if not self.elements:
            return True
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


@dataclass(frozen=True)
class Inert:
    """Stands for all that is neither data nor a tensor: what a pickle names, or what calling that would make."""

    module: str
    name: str


class PickleMachine:
    """Interprets a pickle's opcodes (protocols 2 to 5): data and tensors are built, all else stays a name.

    Dictionaries keep what has a string for a key: keys of other kinds could be made expensive to hash.
    """

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}  # all that the pickles so far have named, by key
        self._restart()

    def load(self, file: io.BytesIO) -> Any:
        """The object that the pickle at the file's position describes; the file is left behind it.

        Raises:
            ValueError: it is damaged, truncated, or more than any model's weights would take.
        """
        self._restart()
        try:
            for _ in range(MAX_STEPS):
                opcode = OPCODES.get(code := file.read(1))
                if opcode is None:
                    raise ValueError(f"byte {code!r} is no instruction" if code else "it ends too early")
                argument = opcode.arg.reader(file) if opcode.arg else None
                if opcode.name == "STOP":
                    return self._stack.pop()
                OPERATIONS[opcode.name](self, argument)
            raise ValueError(f"it has more than {MAX_STEPS:,} instructions")
        except (IndexError, KeyError):
            raise ValueError(f"its pickle is damaged before byte {file.tell()}") from None
        except ValueError as error:
            raise ValueError(f"its pickle is damaged before byte {file.tell()}: {error}") from None

    def _restart(self) -> None:
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []  # the stacks below each mark
        self._memo: dict[int, Any] = {}

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def mark(self) -> None:
        self._marked.append(self._stack)
        self._stack = []

    def pop_mark(self) -> list[Any]:
        """The values above the last mark."""
        values, self._stack = self._stack, self._marked.pop()
        return values

    def pop(self, count: int) -> list[Any]:
        """The last values, in the order in which they were pushed."""
        if len(self._stack) < count:
            raise IndexError
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def memoize(self, index: int | None) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def recall(self, index: int) -> None:
        self.push(self._memo[index])

    def append(self, values: list[Any]) -> None:
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            pairs = zip(values[::2], values[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, str))

    def name(self, module: Any, attribute: Any) -> None:
        if not isinstance(module, str) or not isinstance(attribute, str):
            raise ValueError("a name is no text")
        self.push(Inert(module, attribute))

    def call(self, function: Any, arguments: Any) -> None:
        """Where unpickling would call ``function``: rebuild a tensor or an empty dictionary, or do nothing."""
        match function, arguments:
            case Inert("torch._utils", "_rebuild_tensor_v2"), _:
                self.push(_tensor(arguments))
            case Inert("torch._utils", "_rebuild_parameter"), (tensor, *_):
                self.push(tensor)
            case Inert("collections", "OrderedDict"), _:
                self.push({})
            case Inert(), _:
                self.push(function)
            case _:
                raise ValueError("what is called has no name")

    def persistent(self, values: list[Any]) -> None:
        """What torch.save keeps out of the pickle: storages; and, long ago, the source code of modules."""
        match values:
            case [("storage", Inert("torch" | "torch.cuda", name), str(key), _, int(elements))] | [
                ("storage", Inert("torch" | "torch.cuda", name), str(key), _, int(elements), None)
            ]:
                if name not in DTYPES or not 0 <= elements < 1 << 63:
                    raise ValueError(f"storage {shown(key)} of {elements} elements of {shown(name)} is not supported")
                described = Storage(key, DTYPES[name], elements)
                if self.storages.setdefault(key, described) != described:
                    raise ValueError(f"storage {shown(key)} is declared twice, differently")
                self.push(described)
            case [("module", module, *_)]:
                self.push(module)
            case _:
                raise ValueError("an object that is no storage is kept outside the pickle")


def _tensor(arguments: Any) -> StoredTensor:
    """The tensor that ``torch._utils._rebuild_tensor_v2`` would make; its storage is not read."""
    match arguments:
        case (Storage() as storage, offset, tuple(shape), tuple(stride), *_) if len(shape) == len(stride) <= 64:
            pass
        case _:
            raise ValueError("a tensor is not described as torch.save does it")
    if not all(type(number) is int and 0 <= number < 1 << 63 for number in (offset, *shape, *stride)):
        raise ValueError("a tensor has an impossible offset, shape or stride")
    tensor = StoredTensor(storage, offset, shape, stride)
    if offset + tensor.reach > storage.elements:
        raise ValueError(f"a tensor of shape {shape} does not fit its storage of {storage.elements} elements")
    return tensor


# Opcode → what it does to the machine, given the opcode's argument. Those of protocols 0 and 1 that write numbers and
# names as text are left out, as are extension codes and out-of-band buffers: torch.save uses none of them.
OPERATIONS: dict[str, Callable[[PickleMachine, Any], Any]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(1),
    "POP_MARK": lambda machine, _: machine.pop_mark(),
    "BINPUT": PickleMachine.memoize,
    "LONG_BINPUT": PickleMachine.memoize,
    "MEMOIZE": PickleMachine.memoize,
    "BINGET": PickleMachine.recall,
    "LONG_BINGET": PickleMachine.recall,
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE1": lambda machine, _: machine.push(tuple(machine.pop(1))),
    "TUPLE2": lambda machine, _: machine.push(tuple(machine.pop(2))),
    "TUPLE3": lambda machine, _: machine.push(tuple(machine.pop(3))),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_mark())),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "APPEND": lambda machine, _: machine.append(machine.pop(1)),
    "APPENDS": lambda machine, _: machine.append(machine.pop_mark()),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "SETITEM": lambda machine, _: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_mark()),
    "EMPTY_SET": lambda machine, _: machine.push([]),
    "ADDITEMS": lambda machine, _: machine.append(machine.pop_mark()),
    "FROZENSET": lambda machine, _: machine.push(tuple(machine.pop_mark())),  # no need to hash its values
    "GLOBAL": lambda machine, name: machine.name(*name.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine.name(*machine.pop(2)),
    "REDUCE": lambda machine, _: machine.call(*machine.pop(2)),
    "NEWOBJ": lambda machine, _: machine.call(*machine.pop(2)),
    "NEWOBJ_EX": lambda machine, _: machine.call(*machine.pop(3)[:2]),
    "BUILD": lambda machine, _: machine.pop(1),
    "BINPERSID": lambda machine, _: machine.persistent(machine.pop(1)),
    "BININT": PickleMachine.push,
    "BININT1": PickleMachine.push,
    "BININT2": PickleMachine.push,
    "LONG1": PickleMachine.push,
    "LONG4": PickleMachine.push,
    "BINFLOAT": PickleMachine.push,
    "SHORT_BINUNICODE": PickleMachine.push,
    "BINUNICODE": PickleMachine.push,
    "BINUNICODE8": PickleMachine.push,
    "SHORT_BINBYTES": PickleMachine.push,
    "BINBYTES": PickleMachine.push,
    "BINBYTES8": PickleMachine.push,
    "BYTEARRAY8": PickleMachine.push,
}
OPCODES = {
    opcode.code.encode("latin-1"): opcode
    for opcode in pickletools.opcodes
    if opcode.name in OPERATIONS or opcode.name == "STOP"
}


class Checkpoint:
    """An open checkpoint: ``tensors`` by their names in its ``state_dict``, or in itself, and the bytes of each."""

    def __init__(self, path: Path, file: "_File"):
        self.path, self._file = path, file
        with _telling(path):
            start = file.at(0, 4)
            if start == b"PK\x03\x04":
                content, self._place = _read_zip(file)
            elif start[:1] == b"\x80":
                content, self._place = _read_legacy(file)
            else:
                raise ValueError("it is neither a zip nor a pickle, as torch.save writes them")
            state = content.get("state_dict", content) if isinstance(content, dict) else None
            tensors = state.items() if isinstance(state, dict) else ()
            self.tensors = {name: value for name, value in tensors if isinstance(value, StoredTensor)}
            if not self.tensors:
                raise ValueError("it has no 'state_dict' with tensors, and is none itself")
        self._whole: set[str] = set()  # keys of the storages whose checksum was found right

    def chunks(self, tensor: StoredTensor) -> Iterator[bytes]:
        """The tensor's elements as bytes, little-endian and in row-major order, some megabytes at a time.

        Raises:
            InputError: the file is truncated, the storage's checksum is wrong (the legacy format has none), or the
                tensor repeats or leaves out elements between its first and its last.
        """
        with _telling(self.path):
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
                raise ValueError(f"a tensor of shape {tensor.shape} is kept as {tensor.reach:,} elements")


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Checkpoint]:
    """Open a checkpoint to read its tensors.

    Raises:
        InputError: the file is missing, damaged, or neither a ``state_dict`` nor a checkpoint with one.
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
        InputError: the file is missing, damaged, or neither a ``state_dict`` nor a checkpoint with one.
    """
    with open_checkpoint(path) as opened:
        described = opened.tensors.values()
        # Weights may be tied, two names of one storage; a million names of one would be a bomb.
        if sum(tensor.elements * tensor.storage.dtype.itemsize for tensor in described) > 2 * path.stat().st_size:
            raise InputError(f"{path}: not a whole checkpoint: its tensors are more than twice the file")
        return {name: _in_memory(tensor, opened) for name, tensor in opened.tensors.items()}


def _in_memory(tensor: StoredTensor, opened: Checkpoint) -> Tensor:
    content = bytearray().join(opened.chunks(tensor))
    if not content:
        return torch.empty(tensor.shape, dtype=tensor.storage.dtype)
    return torch.frombuffer(content, dtype=tensor.storage.dtype).view(tensor.shape)


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Tell of what is wrong with a file in one line that names it."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a whole checkpoint: {error}") from None


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
        raise ValueError(f"the zip is truncated or damaged: {error}") from None
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ValueError("the zip has no data.pkl, or several")
    folder = pickles[0].removesuffix("data.pkl")
    order = members.get(f"{folder}byteorder")
    if order is not None and _small_member(file, order) != b"little":
        raise ValueError("its numbers are big-endian")

    def place(storage: Storage) -> tuple[int, int | None]:
        member = members.get(f"{folder}data/{storage.key}")
        if member is None or member.file_size != storage.elements * storage.dtype.itemsize:
            raise ValueError(f"storage {shown(storage.key)} is missing or not {storage.elements:,} elements long")
        return _member_start(file, member), member.CRC

    return PickleMachine().load(io.BytesIO(_small_member(file, members[pickles[0]]))), place


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
    machine = PickleMachine()
    head = io.BytesIO(file.at(0, min(file.bytes, MAX_BYTES)))
    if machine.load(head) != LEGACY_MAGIC or machine.load(head) != 1001:
        raise ValueError("it does not begin like a file of torch.save")
    system = machine.load(head)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("its numbers are big-endian")
    content, keys = machine.load(head), machine.load(head)
    starts: dict[Storage, int] = {}
    position = head.tell()
    for key in keys if isinstance(keys, list) else [None]:
        storage = machine.storages.get(key) if isinstance(key, str) else None
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


def _in_row_major_order(tensor: StoredTensor, content: bytearray) -> bytes:
    """The bytes of a strided tensor from those of the stretch of storage that it reaches over."""
    stretch = torch.frombuffer(content, dtype=tensor.storage.dtype)
    return stretch.as_strided(tensor.shape, tensor.stride).flatten().view(torch.uint8).numpy().tobytes()

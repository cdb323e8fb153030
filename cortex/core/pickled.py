"""Data and tensors in a pickle, read without importing or calling anything that the pickle names.

Unpickling executes what a pickle names. Three walls stand before that:

1. :func:`load_pickle` parses the opcodes first (``pickletools.genops`` executes none of them). It accepts a list of
   opcodes, bounds their number and the memo, and translates the opcodes that act on objects (``BUILD``, ``NEWOBJ``, …)
   to opcodes that act on data.
2. :class:`InertUnpickler` looks nothing up: a name becomes one of four functions of this module, or an :class:`Inert`.
3. Tensors are descriptions (:class:`StoredTensor`), checked against the storages that hold their elements.

Time and memory are linear in the bytes and opcodes of the pickle.
"""

import io
import math
import pickle
import pickletools
from dataclasses import dataclass
from typing import Any

import torch

from cortex.core.errors import InputError, shown

# Opcodes of a pickle; each costs some hundred bytes at most. The ImageNet transformer of 1.4 B parameters needs 10 %.
MAX_OPCODES = 1_000_000
MAX_SIZE = 1 << 63  # of offsets, shapes and strides

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
}
NO_VIEW: tuple[list[None], ...] = (
    [],
    [None],
)  # what follows a storage's number of elements, unless it is a part of another one

# Opcodes of protocols 2 to 5 that the unpickler gets as they are. torch.save uses none of the others: numbers and
# names as text, extension codes, out-of-band buffers.
KEPT = frozenset(
    """
    PROTO STOP MARK POP POP_MARK BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BINPERSID
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8
    SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS
    SETITEM SETITEMS
    """.split()  # noqa: SIM905
)
# Opcodes that the unpickler gets as others: it would hash the values of sets and the keys of dictionaries, which takes
# 2ⁿ steps for n nested tuples, and look for methods of the objects that it makes.
TRANSLATED = {
    "FRAME": b"",  # the length of a stretch, which the translation changes
    "EMPTY_DICT": pickle.GLOBAL + b"collections\nOrderedDict\n" + pickle.EMPTY_TUPLE + pickle.REDUCE,
    "EMPTY_SET": pickle.EMPTY_LIST,
    "ADDITEMS": pickle.APPENDS,
    "FROZENSET": pickle.TUPLE,
    "NEWOBJ": pickle.REDUCE,  # class and arguments, as function and arguments
    "NEWOBJ_EX": pickle.POP + pickle.REDUCE,  # without the keyword arguments
    "BUILD": pickle.POP,  # without the state
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
        """Product of the shape."""
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


@dataclass(frozen=True, slots=True)
class Inert:
    """Stands for all that is neither data nor a tensor: an object that a pickle names, or the result of calling it.

    The methods are those by which an unpickler fills an object; they do nothing.
    """

    module: str
    name: str

    def __call__(self, *_: object) -> "Inert":
        return self

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def extend(self, values: object) -> None:
        pass


class StringKeyed(dict[str, Any]):
    """A dictionary that drops items with other keys than strings, before it hashes the key."""

    def __setitem__(self, key: object, value: Any) -> None:
        if isinstance(key, str):
            super().__setitem__(key, value)


class InertUnpickler(pickle.Unpickler):
    """Builds data, and descriptions of tensors; every other object is an :class:`Inert`.

    This is the unpickler in C, whose interface (``find_class``, ``persistent_load``) is public; the one in Python is
    private. It is safe for the opcodes of :func:`_as_data` only.

    Args:
        file: the pickle.
        storages: by key; storages that the pickle describes are added.
    """

    def __init__(self, file: io.BytesIO, storages: dict[str, Storage]):
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str, /) -> Any:
        """The function of this module that does what the named one would; an :class:`Inert` if there is none."""
        match module, name:
            case "torch._utils", "_rebuild_tensor_v2":
                return _tensor
            case "torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state":
                return _first
            case "torch._tensor", "_rebuild_from_type_v2":
                return _of_a_type
            case "collections", "OrderedDict":
                return _empty_dict
        return Inert(module, name)

    def persistent_load(self, pid: Any) -> Any:
        """What torch.save keeps out of the pickle: storages; and, long ago, the source code of modules."""
        match pid:
            case ("storage", Inert("torch" | "torch.cuda", name), str(key), _, int(elements), *rest) if rest in NO_VIEW:
                if name not in DTYPES:
                    raise InputError(f"a storage of type {shown(name)} is not supported: allowed: {', '.join(DTYPES)}")
                if not 0 <= elements < MAX_SIZE:
                    raise ValueError(f"storage {shown(key)} has an impossible number of elements")
                described = Storage(key, DTYPES[name], elements)
                if self._storages.setdefault(key, described) != described:
                    raise ValueError(f"storage {shown(key)} is declared twice, differently")
                return described
            case ("storage", Inert("torch.storage"), *_):
                raise InputError(
                    "tensors in float8, or of another type of which a storage does not state the type, are not "
                    "supported: save them in float32"
                )
            case ("module", module, *_):
                return module
        raise ValueError("an object that is no storage is kept outside the pickle")


def load_pickle(file: io.BytesIO, storages: dict[str, Storage]) -> Any:
    """The object that the pickle at the file's position describes; the file is left behind it.

    Args:
        file: protocols 2 to 5.
        storages: those of the file by key; the ones that the pickle describes are added.

    Returns:
        Numbers, texts, bytes, tuples, lists (for sets, too), dictionaries with strings for keys (items with other keys
        are left out), :class:`Storage`, :class:`StoredTensor` and :class:`Inert`.

    Raises:
        ValueError: it is damaged, truncated, or more than any model's weights would take.
    """
    try:
        return InertUnpickler(io.BytesIO(_as_data(file)), storages).load()
    except InputError:
        raise
    except Exception as error:  # the unpickler raises many kinds, and its documentation does not list all
        raise ValueError(f"its pickle is damaged: {str(error)[:300]}") from None


def _as_data(file: io.BytesIO) -> bytes:
    """The pickle at the file's position, translated so that it acts on nothing but data."""
    content, translated = file.getbuffer(), bytearray()
    for count, (opcode, argument, start) in enumerate(pickletools.genops(file), start=1):
        if count > MAX_OPCODES:
            raise ValueError(f"it has more than {MAX_OPCODES:,} opcodes")
        if opcode.name in TRANSLATED:
            translated += TRANSLATED[opcode.name]
        elif opcode.name not in KEPT:
            raise ValueError(f"opcode {opcode.name} at byte {start} is not supported")
        # The unpickler's memo is an array with a place for every index up to the largest.
        elif opcode.name in ("BINPUT", "LONG_BINPUT") and (argument or 0) > count:
            raise ValueError(f"memo index {argument:,} at byte {start} is larger than the number of opcodes before it")
        else:
            translated += content[start : file.tell()]
    return bytes(translated)


def _tensor(*arguments: Any) -> StoredTensor:
    """The tensor that ``torch._utils._rebuild_tensor_v2`` would make; its storage is not read."""
    match arguments:
        case (Storage() as storage, offset, tuple(shape), tuple(stride), *_) if len(shape) == len(stride) <= 64:
            pass
        case _:
            raise ValueError("a tensor is not described as torch.save does it")
    if not all(type(number) is int and 0 <= number < MAX_SIZE for number in (offset, *shape, *stride)):
        raise ValueError("a tensor has an impossible offset, shape or stride")
    tensor = StoredTensor(storage, offset, shape, stride)
    if offset + tensor.reach > storage.elements:
        raise ValueError(f"a tensor of shape {shape} does not fit its storage of {storage.elements} elements")
    return tensor


def _first(value: Any, *_: object) -> Any:
    """A parameter is the tensor that ``torch._utils._rebuild_parameter`` would make it of."""
    return value


def _of_a_type(function: Any = None, _: object = None, arguments: Any = (), *__: object) -> Any:
    """A tensor of a subclass is the tensor that ``torch._tensor._rebuild_from_type_v2`` would make a subclass of."""
    if function in (_tensor, _first) and isinstance(arguments, tuple):
        return function(*arguments)
    return Inert("torch._tensor", "_rebuild_from_type_v2")


def _empty_dict(*_: object) -> StringKeyed:
    return StringKeyed()

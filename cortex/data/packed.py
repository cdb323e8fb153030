"""All grids and labels of a split as one memory-mapped array: 514 bytes an image at paper scale."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.file_kinds import not_whole
from cortex.core.files import whole_file
from cortex.core.tables import read_table
from cortex.data.tokens import Tokens, iterate_tokens


def packed_dtype(grid: tuple[int, int]) -> np.dtype[np.void]:
    """One image: its class index and its token grid."""
    return np.dtype([("label", "<u2"), ("grid", "<u2", grid)])


def pack_grids(output: Path, tokens: list[Path], *, codes: int) -> None:
    """Pack the grids and labels of token tables, in their order, into one array that training maps into memory.

    Args:
        output: ``.npy`` file to write: one record (label uint16, grid uint16 [h, w]) an image.
        tokens: token tables.
        codes: codes in the codebook; a token outside is an error.
    """
    count = sum(len(read_table(path, ["label"])) for path in tokens)
    write_packed(output, map(packed_records, iterate_tokens(tokens, codes=codes)), count)


def packed_records(images: Tokens) -> NDArray[np.void]:
    """Labels and grids of images as records."""
    records = np.empty(len(images), packed_dtype(images.shape))
    records["label"] = images.labels
    records["grid"] = images.tokens.reshape(-1, *images.shape)
    return records


def write_packed(output: Path, parts: Iterable[NDArray[np.void]], count: int) -> None:
    """Write records of one dtype, part after part, as :func:`read_packed` reads them.

    Args:
        output: ``.npy`` file to write.
        parts: the records; one part in memory at a time.
        count: records in all parts together.
    """
    # On a full disk, a write raises an error; a process that writes to a mapped file is killed.
    with whole_file(output) as temporary, open(temporary, "wb") as file:
        for place, part in enumerate(parts):
            if place == 0:
                descr = npy.dtype_to_descr(part.dtype)
                npy.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": (count,)})
            file.write(part.data)


def read_packed(path: Path, mode: Literal["r", "c"] = "r") -> NDArray[np.void]:
    """The records of :func:`pack_grids`, mapped into memory.

    Args:
        path: the file.
        mode: as of :func:`map_array`.

    Raises:
        InputError: the file is missing, truncated, or not packed grids.
    """
    packed: NDArray[np.void] = map_array(path, "packed grids", mode)
    grid = packed.dtype["grid"].shape if packed.dtype.names == ("label", "grid") else ()
    if packed.ndim != 1 or len(grid) != 2 or packed.dtype != packed_dtype(grid):
        raise InputError(f"{path}: not packed grids: expected records of label (uint16) and grid (uint16 [h, w])")
    return packed


def map_array(path: Path, what: str, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """The array of an ``.npy`` file, mapped into memory.

    Args:
        path: the file.
        what: its contents, for error messages.
        mode: r: the array is read-only; c: it can be changed, the file stays as it is.

    Raises:
        InputError: the file is missing or truncated.
    """
    try:
        return npy.open_memmap(path, mode=mode)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of {what}") from None
    except Exception as error:  # NumPy parses a header as Python, so a damaged one raises any exception
        raise not_whole(path, "npy file", error) from None


def rows_of(packed: NDArray[np.void], label: int, path: Path) -> NDArray[np.int64]:
    """Rows of the records of a class, ascending.

    Args:
        packed: the records.
        label: class index.
        path: their file, for the error message.

    Raises:
        InputError: there are none.
    """
    found = np.flatnonzero(packed["label"] == label)
    if not len(found):
        raise InputError(f"{path}: no grids of class {label}")
    return found

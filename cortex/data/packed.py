"""All grids and labels of a split as one memory-mapped array: 514 bytes an image at paper scale."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.files import whole_file
from cortex.data.shard_reader import read_shard


def packed_dtype(grid: tuple[int, int]) -> np.dtype[np.void]:
    """One image: its class index and its token grid."""
    return np.dtype([("label", "<u2"), ("grid", "<u2", grid)])


def pack_grids(output: Path, shards: list[Path], *, codes: int) -> None:
    """Pack the grids and labels of shards, in their order, into one array that training maps into memory.

    Args:
        output: ``.npy`` file to write: one record (label uint16, grid uint16 [h, w]) an image.
        shards: WebDataset tars.
        codes: codes in the codebook; a token outside is an error.
    """
    if not shards:
        raise InputError("no shards to pack")
    parts = [_records(shard, codes) for shard in shards]
    for shard, part in zip(shards, parts, strict=True):
        if part.dtype != parts[0].dtype:
            raise InputError(f"{shard}: grids of {part.dtype['grid'].shape}, those of {shards[0]} are others")
    write_packed(output, parts)


def write_packed(output: Path, parts: Sequence[NDArray[np.void]]) -> None:
    """Write records of one dtype, part after part, as :func:`read_packed` reads them."""
    header = {"descr": npy.dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": (sum(map(len, parts)),)}
    # Written, not mapped: on a full disk a write is an error that can be told, a mapping a killed process.
    with whole_file(output) as temporary, open(temporary, "wb") as file:
        npy.write_array_header_1_0(file, header)
        for part in parts:
            file.write(part.data)


def _records(shard: Path, codes: int) -> NDArray[np.void]:
    samples = [(sample.label, sample.grid) for sample in read_shard(shard, codes=codes)]
    records = np.empty(len(samples), packed_dtype(samples[0][1].shape))
    records["label"] = [label for label, _ in samples]
    records["grid"] = np.stack([grid for _, grid in samples])
    return records


def read_packed(path: Path) -> NDArray[np.void]:
    """The records of :func:`pack_grids`, mapped read-only.

    Raises:
        InputError: the file is missing, truncated, or not packed grids.
    """
    packed: NDArray[np.void] = map_array(path, "packed grids")
    grid = packed.dtype["grid"].shape if packed.dtype.names == ("label", "grid") else ()
    if packed.ndim != 1 or len(grid) != 2 or packed.dtype != packed_dtype(grid):
        raise InputError(f"{path}: not packed grids: expected records of label (uint16) and grid (uint16 [h, w])")
    return packed


def map_array(path: Path, what: str, mode: Literal["r", "c"] = "r") -> NDArray[Any]:
    """The array of an ``.npy`` file, mapped into memory; with mode c, what is written to it does not reach the file.

    Raises:
        InputError: the file is missing or truncated; ``what`` it was to hold is named.
    """
    try:
        return npy.open_memmap(path, mode=mode)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of {what}") from None
    except Exception as error:  # a damaged header raises whatever parsing it as Python raises
        raise InputError(f"{path}: not a whole npy file: {error}") from None


def rows_of(packed: NDArray[np.void], label: int, path: Path) -> NDArray[np.int64]:
    """Where the records of a class are, ascending.

    Raises:
        InputError: there are none; ``path`` is named.
    """
    found = np.flatnonzero(packed["label"] == label)
    if not len(found):
        raise InputError(f"{path}: no grids of class {label}")
    return found

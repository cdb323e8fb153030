"""All grids and labels of a split as one memory-mapped array: 514 bytes an image at paper scale."""

from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from cortex.errors import InputError
from cortex.files import whole_file
from cortex.shards.read import read_shard


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
    parts = [np.array(_records(shard, codes)) for shard in shards]
    if len({part.dtype for part in parts}) != 1:
        raise InputError(f"{shards[0]} and others: their grids differ in shape")
    with whole_file(output) as temporary:
        packed = open_memmap(temporary, mode="w+", dtype=parts[0].dtype, shape=(sum(map(len, parts)),))
        np.concatenate(parts, out=packed)
        packed.flush()


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
    try:
        packed = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of packed grids") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: not a whole npy file: {error}") from None
    if not isinstance(packed, np.ndarray) or packed.ndim != 1 or packed.dtype.names != ("label", "grid"):
        raise InputError(f"{path}: not packed grids: expected records of label and grid")
    return packed

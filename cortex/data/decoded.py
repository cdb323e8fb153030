"""The images of a shard, decoded once for all judges and all masks, as one memory-mapped array."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.files import whole_file
from cortex.core.progress import progress
from cortex.data.packed import map_array
from cortex.data.shard_reader import read_shard
from cortex.data.tokens import Tokens


def decode_images(output: Path, shard: Path) -> None:
    """Decode the images of a shard into one array that judges map into memory.

    Args:
        output: ``.npy`` file to write: uint8 [N, H, W, 3], in the shard's order.
        shard: WebDataset tar whose images are all of one size.
    """
    count, size = sum(1 for _ in read_shard(shard)), None
    with whole_file(output) as temporary, open(temporary, "wb") as file:
        for sample in progress(read_shard(shard, images=True), count, "decoding", "image"):
            assert sample.image is not None
            if size is None:
                size = sample.image.shape
                header = {"descr": "|u1", "fortran_order": False, "shape": (count, *size)}
                npy.write_array_header_1_0(file, header)
            if sample.image.shape != size:
                one, other = (f"{shape[1]}×{shape[0]}" for shape in (sample.image.shape, size))
                raise InputError(f"{shard}: image of {sample.key}: {one} pixels; those before it have {other}")
            file.write(sample.image.tobytes())


def read_decoded(path: Path) -> NDArray[np.uint8]:
    """The images of :func:`decode_images`, uint8 ``[N, H, W, 3]``, mapped; changes do not reach the file.

    Raises:
        InputError: the file is missing, truncated, or no decoded images.
    """
    images: NDArray[np.uint8] = map_array(path, "decoded images", "c")  # torch warns of arrays that are read-only
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"{path}: {images.dtype} {list(images.shape)}: not decoded images, uint8 [N, H, W, 3]")
    return images


def decoded_of(images: Tokens, path: Path) -> NDArray[np.uint8]:
    """The decoded images of a token table, mapped, as :func:`read_decoded` gives them.

    Raises:
        InputError: as :func:`read_decoded`, or they are not as many.
    """
    pictures = read_decoded(path)
    if len(pictures) != len(images):
        raise InputError(f"{path}: {len(pictures)} images; {images.path} has {len(images)}")
    return pictures


def decoded_rows(images: Tokens, paths: Sequence[Path], rows: NDArray[np.integer] | Sequence[int]) -> NDArray[np.uint8]:
    """Decoded images of some rows, uint8 ``[len(rows), H, W, 3]``, in the rows' order.

    Args:
        images: token tables that were read one after another.
        paths: the decoded images of each, in the same order.
        rows: of ``images``.

    Raises:
        InputError: a file is missing, damaged or of images of another size, or they are not as many as ``images``.
    """
    parts = [read_decoded(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.shape[1:] != parts[0].shape[1:]:
            one, other = (f"{shape[2]}×{shape[1]}" for shape in (part.shape, parts[0].shape))
            raise InputError(f"{path}: images of {one} pixels; those of {paths[0]} have {other}")
    ends = np.cumsum([len(part) for part in parts])
    if not parts or ends[-1] != len(images):
        found = ends[-1] if parts else 0
        raise InputError(f"{paths[0].parent if paths else 'no files'}: {found} images; {images.path} has {len(images)}")
    files = np.searchsorted(ends, rows, side="right")
    return np.stack([parts[file][row - ends[file]] for file, row in zip(files, rows, strict=True)])

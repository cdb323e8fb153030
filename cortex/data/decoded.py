"""The images of a shard, decoded once for all judges and all masks, as one memory-mapped array."""

from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.files import whole_file
from cortex.core.progress import progress
from cortex.data.packed import map_array
from cortex.data.shard_reader import Sample, read_shard


def decode_images(output: Path, shard: Path) -> None:
    """Decode the images of a shard, one after another, into one array that the judges map into memory.

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
    """The images of :func:`decode_images`, mapped: what is written to them does not reach the file.

    Raises:
        InputError: the file is missing, truncated, or no decoded images.
    """
    images: NDArray[np.uint8] = map_array(path, "decoded images", "c")  # torch warns of what cannot be written
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise InputError(f"{path}: {images.dtype} {list(images.shape)}: not decoded images, uint8 [N, H, W, 3]")
    return images


def decoded_of(shard: Path, samples: int, path: Path) -> NDArray[np.uint8]:
    """The decoded images of a shard of so many samples.

    Raises:
        InputError: as :func:`read_decoded`, or they are not as many.
    """
    images = read_decoded(path)
    if len(images) != samples:
        raise InputError(f"{path}: {len(images)} images; {shard} has {samples}")
    return images


def named_images(shards: list[Path], decoded: list[Path], keys: list[str], codes: int | None = None) -> list[Sample]:
    """The samples of some keys, with their images, in the keys' order; shards are read no further than the last.

    Args:
        shards: tars.
        decoded: the decoded images of each.
        keys: those of the samples.
        codes: codes in the codebook; a token outside is an error.

    Raises:
        InputError: a shard or an array is damaged, or none has a key.
    """
    missing, found = set(keys), dict[str, Sample]()
    for shard, path in zip(shards, decoded, strict=True):
        if not missing:
            break
        images = read_decoded(path)
        for row, sample in enumerate(read_shard(shard, codes=codes)):
            if row >= len(images):
                raise InputError(f"{path}: {len(images)} images; {shard} has more")
            if sample.key in missing:
                missing.remove(sample.key)
                sample.image = images[row]
                found[sample.key] = sample
                if not missing:
                    break
    if missing:
        raise InputError(f"{shards[0].parent}: no image {min(missing)!r}")
    return [found[key] for key in keys]

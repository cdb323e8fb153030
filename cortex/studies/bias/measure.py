"""A property of the pictures of a shard, a number an image (METHOD.md, section 7)."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import write_table
from cortex.data.shard_reader import Sample, read_shard
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import load_generator
from cortex.studies.bias.settings import PROPERTIES

AT_ONCE = 64  # images in memory

Decode = Callable[[NDArray[np.uint16]], NDArray[np.uint8]]  # images [B, H, W, 3] of grids [B, h, w]


def measure_property(
    output: Path,
    shard: Path,
    *,
    property: str,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    device: str = "auto",
) -> None:
    """Measure a property of every picture of a shard. Images that the shard lacks are decoded from their tokens.

    Args:
        output: Parquet to write: key, label, value.
        shard: WebDataset tar.
        property: haze, brightness, contrast, or module:function of images uint8 [B, H, W, 3] that gives [B] numbers.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator that decodes missing images; the family's own if not given.
        device: auto, cpu, cuda or cuda:N.
    """
    measure = PROPERTIES.load(property)
    keys, labels, parts = [], [], []
    for samples, images in iterate_pictures(shard, decoder(generator, family, device)):
        keys += [sample.key for sample in samples]
        labels += [sample.label for sample in samples]
        parts.append(_numbers(measure(images), len(samples), property))
    columns = {"key": keys, "label": pa.array(labels, pa.int32()), "value": np.concatenate(parts)}
    write_table(output, pa.table(columns))


def iterate_pictures(shard: Path, decode: Decode) -> Iterator[tuple[list[Sample], NDArray[np.uint8]]]:
    """The samples of a shard and their images uint8 ``[B, H, W, 3]``, some at a time.

    Args:
        shard: WebDataset tar.
        decode: gives images that the shard lacks.

    Raises:
        InputError: the shard is missing or damaged, or its images differ in size.
    """
    samples = read_shard(shard, images="any")
    while batch := list(islice(samples, AT_ONCE)):
        if lacking := [sample for sample in batch if sample.image is None]:
            decoded = decode(np.stack([sample.grid for sample in lacking]))
            for sample, image in zip(lacking, decoded, strict=True):
                sample.image = image
        images = [sample.image for sample in batch if sample.image is not None]
        if len(sizes := {image.shape for image in images}) > 1:
            found = ", ".join(sorted(f"{width}×{height}" for height, width, _ in sizes))
            raise InputError(f"{shard}: images of {found} pixels; allowed: one size")
        yield batch, np.stack(images)


def decoder(generator: Path | None, family: str, device: str) -> Decode:
    """A function that decodes grids by a generator, which is loaded when it is first needed.

    Args:
        generator: weights file; None: the family's own.
        family: a registered name, or module:Attribute.
        device: auto, cpu, cuda or cuda:N.
    """
    load = cache(lambda: load_generator(generator, choose_device(device), family=family, decode_only=True))

    def decode(grids: NDArray[np.uint16]) -> NDArray[np.uint8]:
        on_device = torch.from_numpy(grids.astype(np.int64)).to(load().device)
        images: NDArray[np.uint8] = load().decode(on_device).cpu().numpy()
        return images

    return decode


def _numbers(measured: Any, images: int, name: str) -> NDArray[np.float64]:
    """What a property's function has returned, if it is a finite number an image.

    Raises:
        InputError: it is something else.
    """
    found = np.asarray(measured)
    if found.shape != (images,) or found.dtype.kind not in "buif":
        raise InputError(
            f"property {name}: {found.dtype} {list(found.shape)} of {images} images; expected a number each"
        )
    if not np.isfinite(found).all():
        raise InputError(f"property {name}: {found[~np.isfinite(found)][0]} of an image; expected finite numbers")
    return found.astype(np.float64)

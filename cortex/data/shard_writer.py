"""Write shards, byte for byte the same whenever the samples are the same."""

import io
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from webdataset.writer import TarWriter

from cortex.core.files import whole_file
from cortex.core.progress import progress
from cortex.data.pixels import ENCODERS, EncodedImage, encode_image
from cortex.data.settings import KeptImages
from cortex.data.shard_reader import CHECKSUMS, Sample, checksums


def write_shard(path: Path, samples: Iterable[Sample], images: Iterable[EncodedImage | None] | None = None) -> None:
    """Write samples as WebDataset members ``<key>.cls``, ``.json``, ``.tokens.npy`` and ``.png`` (``.jpg``, ``.webp``).

    Member times, owners and modes are constants. The JSON holds the checksums of all members, itself included. The tar
    appears under ``path`` whole or not at all.

    Args:
        path: the tar.
        samples: without their images if ``images`` are given.
        images: of every sample, encoded, None where it has none; if not given, the samples' own, as PNG.
    """
    with whole_file(path) as temporary:
        write_members(temporary, samples, images)


def write_shards(
    output: Path, samples: Iterator[tuple[Sample, EncodedImage | None]], count: int, shard_size: int, what: str
) -> None:
    """Write samples with their images as the shards of a split, all of them or none, in place of those of before.

    Args:
        output: folder to write 000000.tar and so on to.
        samples: with their images; iterated to the end, so that all behind them is checked before a shard appears.
        count: how many samples there are.
        shard_size: samples of a shard.
        what: what is going on, for the progress.
    """
    paths = [output / f"{shard:06d}.tar" for shard in range(-(-count // shard_size))]
    with ExitStack() as all_or_none:
        for path in progress(paths, len(paths), what, "shard"):
            stretch = list(islice(samples, shard_size))
            temporary = all_or_none.enter_context(whole_file(path))
            write_members(temporary, (sample for sample, _ in stretch), (image for _, image in stretch))
        deque(samples, maxlen=0)
    for stale in set(output.glob("[0-9]" * 6 + ".tar")) - set(paths):
        stale.unlink()


def with_images(
    batches: Iterable[list[Sample]], name: KeptImages, quality: int
) -> Iterator[tuple[Sample, EncodedImage | None]]:
    """Every sample without its image, which a shard's samples would keep in memory, and the image, encoded.

    Args:
        batches: samples with images.
        name: png, jpeg or webp; none: the images are left out.
        quality: of jpeg and webp.
    """
    if name == "none":
        for samples in batches:
            yield from ((replace(sample, image=None), None) for sample in samples)
        return
    encode = partial(encode_image, name=name, quality=quality)
    with ThreadPoolExecutor(ENCODERS) as pool:
        for samples in batches:
            encoded = pool.map(encode, [sample.image for sample in samples])
            yield from zip((replace(sample, image=None) for sample in samples), encoded, strict=True)


def write_members(path: Path, samples: Iterable[Sample], images: Iterable[EncodedImage | None] | None = None) -> None:
    """Write samples as :func:`write_shard` does, for a caller that sees to it that the tar appears whole."""
    own = ((sample, encode_image(sample.image) if sample.image is not None else None) for sample in samples)
    with (
        open(path, "wb") as file,
        TarWriter(file, encoder=False, user="cortex", group="cortex", mtime=0) as tar,
    ):
        for sample, image in own if images is None else zip(samples, images, strict=True):
            members = {"cls": str(sample.label).encode(), "tokens.npy": npy_bytes(sample.grid.astype(np.uint16))}
            if image is not None:
                members[image.extension] = image.content
            info = sample.info | {CHECKSUMS: checksums(members, sample.info)}
            tar.write({"__key__": sample.key, "json": json.dumps(info, sort_keys=True).encode(), **members})


def npy_bytes(array: NDArray[Any]) -> bytes:
    """The array as a ``.npy`` file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()

"""What the data set costs: drawing or importing it, and its files."""

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from cortex.core.cost import ROW, Counts, GeneratorCost, SplitSize, Stage
from cortex.data.draw import canonical_batches
from cortex.data.settings import Data
from cortex.generators.settings import CanonicalBatch
from cortex.generators.spec import GeneratorSpec

TAR_BLOCK = 512
# Bytes of an image file for each of a photograph's; the digits' PNG have 0.4.
IMAGE_FILES = {"png": 0.6, "jpeg": 0.2, "webp": 0.15, "none": 0.0}


def split_size(
    split: str, data: Data, batch: CanonicalBatch, classes: Sequence[int], spec: GeneratorSpec, image: float
) -> SplitSize:
    """Images of a split, and bytes of its files.

    Args:
        split: train, validation or test.
        data: the config's section.
        batch: composition of a canonical batch.
        classes: class indices of the run, ascending.
        spec: the generator's shapes.
        image: bytes of a decoded image.
    """
    samples, positions = getattr(data.per_class, split) * len(classes), prod(spec.grid)
    kept, computed = getattr(data.images, split), samples
    if split not in data.imports.chosen():
        computed = _drawn(samples, data.shard_size, batch, classes, len(spec.class_names))
    grid = TAR_BLOCK * -(-(128 + 2 * positions) // TAR_BLOCK)
    members = samples * (5 * TAR_BLOCK + grid)  # a header for each of three members; label, information
    around = 1.5 * TAR_BLOCK if kept != "none" else 0  # an image's header, and what fills its last block
    return SplitSize(
        samples=samples,
        computed=computed,
        decoded=computed if kept != "none" else 0,
        shards=-(-samples // data.shard_size),
        tars=members + samples * (IMAGE_FILES[kept] * image + around),
        members=members,
        tables=samples * (2 * positions + ROW),
        packed=samples * (2 + 2 * positions),
        scores=samples * (2 * positions + 4 * positions + ROW),
        pixels=samples * image,
    )


def _drawn(samples: int, shard_size: int, batch: CanonicalBatch, classes: Sequence[int], known: int) -> int:
    """Samples that are drawn for a split's shards: canonical batches are drawn whole, wanted or not."""
    labels, total = np.asarray(classes), 0
    for first in range(0, samples, shard_size):
        numbers = np.arange(first, min(first + shard_size, samples))
        wanted = labels[numbers % len(labels)], numbers // len(labels)
        total += sum(len(drawn) for drawn, *_ in canonical_batches(*wanted, (batch.classes, batch.indices), known))
    return total


def costs(counts: Counts) -> Iterator[Stage]:
    """The stages from the generator to the files that all later stages read."""
    generator, sizes = counts.generator, counts.splits
    imported, pictures = counts.config.data.imports.chosen(), counts.config.data.imports.pictures()
    yield Stage("convert_generator", read=generator.weights_bytes, written=generator.weights_bytes)
    yield from _drawing([size for split, size in sizes.items() if split not in imported], generator)
    for split in imported:
        images = sizes[split].samples
        if split in pictures:  # an encoder costs about as much as its decoder
            flops, read = images * generator.decode_flops, sizes[split].pixels
            yield Stage(f"tokenize_{split}", samples=images, flops=flops, read=read, written=sizes[split].tars)
        else:
            decoded = sizes[split].decoded * generator.decode_flops
            yield Stage(f"import_{split}", samples=images, flops=decoded, written=sizes[split].tars)
    yield Stage("manifest", read=sum(size.tars + size.members for size in sizes.values()))
    for split, size in sizes.items():
        yield Stage("read_tokens", {"split": split}, read=size.members, written=size.tables)
    for split, size in sizes.items():
        yield Stage("pack_grids", {"split": split}, read=size.tables, written=size.packed)
    test = sizes["test"]
    yield Stage("decode_images", samples=test.samples, read=test.tars, written=test.pixels)
    codebook = 4 * counts.codes * counts.channels
    yield Stage("export_codebook", read=codebook, written=codebook)


def _drawing(sizes: list[SplitSize], generator: GeneratorCost) -> Iterator[Stage]:
    drawn, decoded = sum(size.computed for size in sizes), sum(size.decoded for size in sizes)
    yield Stage(
        "generate_shard",
        part="tokens",
        samples=drawn,
        flops=drawn * generator.sample_flops,
        traffic=drawn * generator.sample_bytes,
        read=sum(size.shards for size in sizes) * generator.weights_bytes,
    )
    yield Stage(
        "generate_shard",
        part="images",
        samples=decoded,
        flops=decoded * generator.decode_flops,
        written=sum(size.tars for size in sizes),
    )

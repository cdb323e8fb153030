"""Draw one shard of a class-balanced synthetic data set."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cortex.core.device import choose_device, one_thread
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import sample_seeds
from cortex.data.pixels import ENCODERS, EncodedImage, ImageFormat, encode_image
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.generators.taming.generator import Generator, Precision, load_generator
from cortex.generators.taming.sampler import Step

# The splits' places in the random numbers' counter: index 7 of a class is another image in every split.
STREAMS = {"train": 0, "validation": 1, "test": 2}
PIXELS_DECODED = 1 << 20  # at once, of a batch's images: the decoder holds some hundred numbers for each


def generate_shard(
    output: Path,
    split: Literal["train", "validation", "test"],
    first: int,
    last: int,
    *,
    seed: int,
    classes: list[int],
    generator: Path | None = None,
    batch_classes: int = 10,
    batch_indices: int = 10,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    precision: Precision = "auto",
    step: Step | Literal["auto"] = "auto",
    images: ImageFormat | Literal["none"] = "png",
    quality: int = 95,
    device: str = "auto",
) -> None:
    """Draw samples `first` to `last` of a split and write them as one WebDataset tar.

    A split's samples are numbered across its classes (number = index within the class × classes + place of the
    class), so every stretch of them is class-balanced. The tar is a function of these arguments and the kind of
    processor; it is the same byte for byte however many cores compute it.

    Args:
        output: the tar to write.
        split: train, validation or test; the same index of another split is another image.
        first: number of the first sample, from 0.
        last: number of the sample after the last.
        seed: seed of the data set.
        classes: class indices of the data set, ascending.
        generator: weights file of the generator; the embedded digits generator if not given.
        batch_classes: neighbouring classes of a canonical batch (samples are always computed in the same batches).
        batch_indices: indices of each of them.
        temperature: divides the logits of the next token.
        top_k: draw from the k most probable tokens only; all if not given.
        top_p: draw from the most probable tokens that together exceed probability p; all if not given.
        precision: of the transformer's large products: float32, bfloat16, or auto: bfloat16 on a GPU.
        step: how a token is drawn: plain, captured (one command to the GPU), compiled (captured, its operations
            fused; needs a C compiler) or auto: captured on a GPU.
        images: keep images as png (lossless), jpeg or webp, or none, which need not be decoded then.
        quality: of jpeg and webp, 1 (worst) to 100.
        device: auto, cpu, cuda or cuda:N.
    """
    if not 0 <= first < last:
        raise InputError(f"samples {first} to {last}: a shard holds at least one sample, numbered from 0")
    if not 0 <= seed < 1 << 64:
        raise InputError(f"seed {seed}: allowed: 0 to 2^64 − 1")
    if not classes or classes != sorted(set(classes)):
        raise InputError(f"classes {classes}: name at least one, every class once, ascending")
    if not 1 <= quality <= 100:
        raise InputError(f"quality {quality}: allowed: 1 to 100")
    model = load_generator(generator, choose_device(device), precision=precision, step=step)
    for label in (classes[0], classes[-1]):
        if not 0 <= label < len(model.class_names):
            raise InputError(f"class {label}: the generator has classes 0 to {len(model.class_names) - 1}")
    numbers = np.arange(first, last)
    labels, indices = np.asarray(classes)[numbers % len(classes)], numbers // len(classes)
    with one_thread():
        grids, encoded = draw_samples(
            model,
            labels,
            indices,
            seed=seed,
            stream=STREAMS[split],
            batch=(batch_classes, batch_indices),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            images=images,
            quality=quality,
        )
    write_shard(
        output,
        (
            Sample(
                key=f"{split}-{label:04d}-{index:06d}",
                label=int(label),
                grid=grid,
                info={"seed": seed, "class_name": model.class_names[label]},
            )
            for label, index, grid in zip(labels, indices, grids, strict=True)
        ),
        encoded,
    )


def draw_samples(
    model: Generator,
    labels: NDArray[np.integer],
    indices: NDArray[np.integer],
    *,
    seed: int,
    stream: int,
    batch: tuple[int, int],
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    images: ImageFormat | Literal["none"] = "png",
    quality: int = 95,
) -> tuple[NDArray[np.uint16], list[EncodedImage | None]]:
    """Grids uint16 ``[N, h, w]`` and images, encoded, of the samples (label, index)."""
    grids = np.empty((len(labels), *model.grid_shape), np.uint16)
    encoded: dict[int, Future[EncodedImage]] = {}
    before: list[Future[EncodedImage]] = []
    side = model.architecture["vqgan"]["ddconfig"]["resolution"]
    at_once = max(1, PIXELS_DECODED // side**2)
    batches = list(canonical_batches(labels, indices, batch, len(model.class_names)))
    with ThreadPoolExecutor(ENCODERS) as pool:
        for batch_labels, batch_indices, rows, columns in progress(batches, len(batches), "sampling", "batch"):
            seeds = sample_seeds(seed, stream, batch_labels, batch_indices)
            drawn = model.sample(batch_labels, seeds, temperature=temperature, top_k=top_k, top_p=top_p)
            grids[rows] = drawn.cpu().numpy()[columns]
            if images != "none":
                decoded = np.concatenate([model.decode(part).cpu().numpy() for part in drawn.split(at_once)])[columns]
                wait(before)  # two batches of images in memory at most
                before = [pool.submit(encode_image, image, images, quality) for image in decoded]
                encoded |= zip(rows.tolist(), before, strict=True)
    return grids, [encoded[row].result() if row in encoded else None for row in range(len(labels))]


def canonical_batches(
    labels: NDArray[np.integer], indices: NDArray[np.integer], batch: tuple[int, int], class_count: int
) -> Iterator[tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]]]:
    """The batches that hold the samples (label, index), each of a composition fixed by class and index alone.

    A batch is a block of ``batch[0]`` neighbouring classes × ``batch[1]`` neighbouring indices, drawn whole even
    where only some of it is wanted: arithmetic differs in its last bits between batch shapes, and a sample must
    not depend on the shard that asked for it.

    Yields:
        The labels and indices of the whole batch, then for the wanted samples in it: their rows in the arguments
        and their columns in the batch.
    """
    wide, deep = batch
    blocks = np.stack([labels // wide, indices // deep], axis=1)
    for block in np.unique(blocks, axis=0):
        of_classes = np.arange(block[0] * wide, min((block[0] + 1) * wide, class_count))
        of_indices = np.arange(block[1] * deep, (block[1] + 1) * deep)
        rows = np.flatnonzero((blocks == block).all(axis=1))
        columns = (labels[rows] - of_classes[0]) * deep + (indices[rows] - of_indices[0])
        yield np.repeat(of_classes, deep), np.tile(of_indices, len(of_classes)), rows, columns

"""Draw one shard of a class-balanced synthetic data set."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cortex.core.device import choose_device, one_thread
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import sample_seeds
from cortex.data.pixels import ENCODERS, EncodedImage, encode_image
from cortex.data.settings import ImageFiles
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator
from cortex.generators.decoding import images_at_once
from cortex.generators.load import generator_spec, load_generator
from cortex.generators.sampling import Sampling
from cortex.generators.settings import Precision, Step

# The splits' places in the random numbers' counter: index 7 of a class is another image in every split.
STREAMS = {"train": 0, "validation": 1, "test": 2}


@dataclass(frozen=True)
class Stretch:
    """Consecutive samples of a split.

    A split's samples are numbered across its classes (number = index within the class × classes + place of the
    class), so every stretch of them is class-balanced.

    Args:
        split: train, validation or test; the same index of another split is another image.
        first: number of the first sample, from 0.
        last: number of the sample after the last.
        seed: seed of the data set.
        classes: class indices of the data set, ascending.
    """

    split: Literal["train", "validation", "test"]
    first: int
    last: int
    seed: int
    classes: list[int]

    def check(self, class_count: int) -> None:
        """Raise an InputError unless there are such samples of a generator of so many classes."""
        if not 0 <= self.first < self.last:
            raise InputError(f"samples {self.first} to {self.last}: a shard holds at least one sample, numbered from 0")
        if not 0 <= self.seed < 1 << 64:
            raise InputError(f"seed {self.seed}: allowed: 0 to 2^64 − 1")
        if not self.classes or self.classes != sorted(set(self.classes)):
            raise InputError(f"classes {self.classes}: name at least one, every class once, ascending")
        for label in (self.classes[0], self.classes[-1]):
            if not 0 <= label < class_count:
                raise InputError(f"class {label}: the generator has classes 0 to {class_count - 1}")

    def samples(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Labels and indices within their class, int64 ``[N]`` each."""
        numbers = np.arange(self.first, self.last)
        return np.asarray(self.classes)[numbers % len(self.classes)], numbers // len(self.classes)


def generate_shard(
    output: Path,
    stretch: Stretch,
    *,
    sampling: Sampling,
    keep: ImageFiles,
    batch_classes: int = 10,
    batch_indices: int = 10,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    precision: Precision = "auto",
    step: Step = "auto",
    device: str = "auto",
) -> None:
    """Draw samples `first` to `last` of a split and write them as one WebDataset tar.

    The tar depends on these arguments and the kind of processor only. It is identical, byte for byte, on any number
    of cores.

    Args:
        output: WebDataset tar to write.
        stretch: split, indices, seed and classes of the samples.
        sampling: options of the sampling.
        keep: format of the images; with none, images are not decoded.
        batch_classes: neighbouring classes of a canonical batch. A sample is always computed in the same batch.
        batch_indices: indices of each of these classes in a batch.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
        precision: precision of the prior's large products; auto: bfloat16 on a GPU, float32 on a CPU.
        step: execution of a sampling step: plain, captured (as a CUDA graph), or compiled (captured and fused; needs
            a C compiler). auto: captured on a GPU, plain on a CPU.
        device: auto, cpu, cuda or cuda:N.
    """
    spec = generator_spec(generator, family)
    if not spec.samples:
        raise InputError(f"generator {generator}: it does not sample grids; import them instead")
    if sampling.guidance != 1 and not spec.guidance:
        raise InputError(f"guidance {sampling.guidance}: the generator has no null class, which it needs; allowed: 1")
    stretch.check(len(spec.class_names))
    if keep.images != "none" and not spec.decodes:
        raise InputError(f"images {keep.images}: the generator does not decode; allowed: none")
    model = load_generator(generator, choose_device(device), family=family, precision=precision, step=step)
    labels, indices = stretch.samples()
    with one_thread():
        grids, encoded = draw_samples(
            model,
            labels,
            indices,
            seed=stretch.seed,
            stream=STREAMS[stretch.split],
            sampling=sampling,
            batch=(batch_classes, batch_indices),
            keep=keep,
        )
    write_shard(
        output,
        (
            Sample(
                key=f"{stretch.split}-{label:04d}-{index:06d}",
                label=int(label),
                grid=grid,
                info={"seed": stretch.seed, "class_name": spec.class_names[label]},
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
    sampling: Sampling,
    batch: tuple[int, int],
    keep: ImageFiles,
) -> tuple[NDArray[np.uint16], list[EncodedImage | None]]:
    """Grids uint16 ``[N, h, w]`` and images, encoded, of the samples (label, index), drawn in canonical batches."""
    grids = np.empty((len(labels), *model.spec.grid), np.uint16)
    encoded: dict[int, Future[EncodedImage]] = {}
    before: list[Future[EncodedImage]] = []
    batches = list(canonical_batches(labels, indices, batch, len(model.spec.class_names)))
    with ThreadPoolExecutor(ENCODERS) as pool:
        for batch_labels, batch_indices, rows, columns in progress(batches, len(batches), "sampling", "batch"):
            seeds = sample_seeds(seed, stream, batch_labels, batch_indices)
            drawn = model.sample(batch_labels, seeds, sampling)
            grids[rows] = drawn.cpu().numpy()[columns]
            if keep.images != "none":
                parts = drawn.split(images_at_once(model.spec))
                decoded = np.concatenate([model.decode(part).cpu().numpy() for part in parts])[columns]
                wait(before)  # two batches of images in memory at most
                before = [pool.submit(encode_image, image, keep.images, keep.quality) for image in decoded]
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

"""Make a split's shards of labelled pictures: the generator's encoder gives their token grids."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device, one_thread
from cortex.core.errors import InputError, quoted, shown
from cortex.data.digits import DIGITS
from cortex.data.picture_sources import PictureSource, find_pictures
from cortex.data.pictures import Pictures, store_pictures
from cortex.data.settings import PicturePart, Shards
from cortex.data.shard_reader import MAX_LABEL, Sample
from cortex.data.shard_writer import with_images, write_shards
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator
from cortex.generators.class_names import ambiguous, match_names
from cortex.generators.load import generator_spec, load_generator

PICTURES = "pictures.part"
ENCODED = 25  # pictures at once: always the same ones together, as arithmetic differs between batches


def tokenize_pictures(
    output: Path,
    images: str,
    *,
    part: PicturePart,
    shards: Shards,
    class_names: Path | None = None,
    classes: tuple[str, ...] = (),
    labels: tuple[int, ...] = (),
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    device: str = "auto",
) -> None:
    """Encode labelled pictures to token grids, and write both as the shards of a split.

    Pictures are turned upright, and their middle is resized to the generator's images. Samples are numbered across
    the classes, as drawn ones are. The shards keep the pictures, not their reconstructions. Nothing is written if a
    picture cannot be read. The decoded pictures lie beside the output until the shards are complete.

    Args:
        output: folder to write the shards to, 000000.tar and so on. It appears when all shards are complete.
        images: labelled pictures: a folder of class folders; a WebDataset tar or a folder of tars; a Parquet file or a
            folder of Parquet files with image and label; a folder that save_to_disk of Hugging Face's datasets wrote;
            or digits (those of the package).
        part: which of the pictures, and the split that they make.
        shards: format of the images, samples of a shard.
        class_names: text file of class names, one a line, for pictures whose classes are numbers from 0.
        classes: class names in the order of the class indices, to which those of the pictures are matched; if not
            given, those of the pictures in their order.
        labels: class indices to take; all that the pictures have if not given.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: the generator has no encoder; a picture is damaged; a class is unknown, or has too few pictures.
    """
    store = output.with_name(f"{output.name}.pictures")
    given = Path(images).resolve()
    if images != DIGITS and {given, given.parent} & {output.resolve(), store.resolve()}:
        raise InputError(f"{images}: the output {output} would replace these pictures; name a folder apart from them")
    spec, on = generator_spec(generator, family), choose_device(device)
    if not spec.encodes:
        name = generator or "the default generator"
        raise InputError(f"{name}: no encoder; pictures need a generator with an encoder")
    source = find_pictures(images, class_names)
    names = classes or source.class_names
    of_pictures = labels_by_name(source, names)
    rows, indices = chosen_rows(of_pictures, labels or tuple(np.unique(of_pictures).tolist()), part, names, images)
    try:
        wanted = np.zeros(len(source), np.bool_)
        wanted[rows] = True
        pictures = store_pictures(source, spec.image, store / PICTURES, wanted)
        order = np.searchsorted(np.flatnonzero(wanted), rows)
        model = load_generator(generator, on, family=family, decode_only=True)
        with one_thread():
            samples = _samples(model, pictures, order, of_pictures[rows], indices, part.split, names)
            encoded = with_images(samples, shards.format, shards.quality)
            write_shards(output, encoded, len(rows), shards.shard_size, "encoding")
    finally:
        (store / PICTURES).unlink(missing_ok=True)
        with suppress(OSError):  # other files lie there
            store.rmdir()


def labels_by_name(source: PictureSource, names: Sequence[str]) -> NDArray[np.int64]:
    """Class indices int64 ``[N]`` of pictures: the place of their class's name among the names.

    Raises:
        InputError: a class of the pictures has none of the names, or there are too many names.
    """
    indices = match_names(names, source.class_names)
    unknown = [name for name, index in zip(source.class_names, indices, strict=True) if index < 0]
    if unknown:
        raise InputError(
            f"{source.name}: unknown classes {quoted(unknown)}; classes are matched by name, allowed: {quoted(names)}"
        )
    if several := ambiguous(names, source.class_names):
        raise InputError(
            f"{source.name}: class {shown(several[0])}: several classes have this name; it should be unique"
        )
    if len(names) > MAX_LABEL + 1:
        raise InputError(f"{source.name}: {len(names)} classes; allowed: up to {MAX_LABEL + 1}")
    return np.array(indices, np.int64)[source.labels]


def chosen_rows(
    labels: NDArray[np.int64], taken: Sequence[int], part: PicturePart, names: Sequence[str], source: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the pictures that a split takes, and their indices within their class, int64 ``[n]`` each.

    The rows alternate between the classes, so that every stretch of them has all classes.

    Args:
        labels: class indices of all pictures.
        taken: class indices to take.
        part: how many, and which.
        names: by class index.
        source: what to call the pictures in errors.

    Raises:
        InputError: a class has too few pictures.
    """
    rows, indices, places = [], [], []
    for place, label in enumerate(sorted(taken)):
        of_class = np.flatnonzero(labels == label)
        if part.seed is not None:
            of_class = np.random.default_rng([part.seed, label]).permutation(of_class)
        last = len(of_class) if part.per_class is None else part.first + part.per_class
        if part.first >= len(of_class) or last > len(of_class):
            name = names[label] if label < len(names) else str(label)
            raise InputError(f"{source}: class {shown(name)} has {len(of_class)} pictures; {last} are asked for")
        of_class = of_class[part.first : last]
        rows.append(of_class)
        indices.append(np.arange(len(of_class)))
        places.append(np.full(len(of_class), place))
    order = np.lexsort((np.concatenate(places), np.concatenate(indices)))
    return np.concatenate(rows)[order], np.concatenate(indices)[order]


def _samples(
    model: Generator,
    pictures: Pictures,
    order: NDArray[np.int64],
    labels: NDArray[np.int64],
    indices: NDArray[np.int64],
    split: str,
    names: Sequence[str],
) -> Iterator[list[Sample]]:
    """Samples with their pictures and grids, some at a time.

    Args:
        model: the generator.
        pictures: those that are taken.
        order: of the samples: rows of the pictures.
        labels, indices: of the samples.
        split: of the samples.
        names: by class index.
    """
    for start in range(0, len(order), ENCODED):
        some = slice(start, start + ENCODED)
        images = pictures.images[order[some]]
        grids = model.encode(torch.from_numpy(images)).cpu().numpy().astype(np.uint16)
        yield [
            Sample(
                f"{split}-{label:04d}-{index:06d}",
                label,
                grid,
                image,
                {"class_name": names[label], "picture": pictures.places[row]},
            )
            for label, index, grid, image, row in zip(
                labels[some].tolist(), indices[some].tolist(), grids, images, order[some], strict=True
            )
        ]

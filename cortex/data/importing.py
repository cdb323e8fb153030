"""Make a split's shards of labels and token grids that others made."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.data.given_pictures import decoded, given_pictures
from cortex.data.layout import Layout
from cortex.data.settings import ImageFiles, Split
from cortex.data.shard_reader import MAX_LABEL, Sample
from cortex.data.shard_writer import with_images, write_shards
from cortex.data.sources import Rows, read_embedding, read_rows, with_pictures
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator
from cortex.generators.load import generator_spec, load_generator, read_codebook
from cortex.generators.nearest import nearest_codes
from cortex.generators.spec import GeneratorSpec

log = logging.getLogger(__name__)

DECODED = 25  # grids at once
DISTANCES = 1 << 25  # between positions and codes at once: 128 MB, and as much again for two steps on the way


def import_split(
    output: Path,
    split: Split,
    source: Path,
    *,
    classes: list[int],
    per_class: int,
    keep: ImageFiles,
    shard_size: int = 10_000,
    labels: Path | None = None,
    embeddings: Path | None = None,
    pictures: str | None = None,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    device: str = "auto",
) -> None:
    """Import labels and token grids as the shards of a split, in their order.

    The first rows of every class are taken; further rows and other classes are ignored. Every row is checked. The
    error of a malformed row names its line; no shard is written then.

    Args:
        output: folder to write the shards to, 000000.tar and so on. It appears when all shards are complete.
        split: train, validation or test.
        source: .csv with the columns filename, label and indices (a list such as [17, 4, ...]); .parquet with label
            and grid, tokens or indices (lists); or .npy of grids [N, h, w], with --labels.
        classes: class indices to take, ascending.
        per_class: rows to take of each class. Fewer rows are an error.
        keep: format of the images; with none, images are not decoded.
        shard_size: samples of a shard.
        labels: .npy file of class indices [N], if the source is .npy.
        embeddings: folder of the .npy files, float32 [d, h, w], that the column filename of a .csv names. Rows without
            indices take the nearest codes of their embedding. The folder of the .csv if not given.
        pictures: images of the rows, for a generator that does not decode: .npy file of uint8 [N, H, W, 3], a picture
            for every row of the source; or image, the column of a .parquet with image files.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator that the codes belong to, or the name of a bundled one; the default one
            if not given.
        device: auto, cpu, cuda or cuda:N.
    """
    if per_class < 1 or shard_size < 1:
        raise InputError(f"per_class {per_class}, shard_size {shard_size}: both are at least 1")
    if not classes or classes != sorted(set(classes)):
        raise InputError(f"classes {classes}: name at least one, every class once, ascending")
    spec, on = generator_spec(generator, family), choose_device(device)
    if classes[-1] > _last_class(spec) or classes[0] < 0:
        raise InputError(f"classes {classes}: the generator has classes 0 to {_last_class(spec)}")
    if pictures is not None and spec.decodes:
        raise InputError(f"pictures {pictures}: the generator decodes the images")
    if keep.images != "none" and pictures is None and not spec.decodes:
        raise InputError(f"images {keep.images}: the generator does not decode; allowed: none")
    found = read_rows(source, labels, embeddings, spec.grid)
    if pictures is not None:
        found = with_pictures(found, given_pictures(pictures, source), source)
    rows = _taken(found, source, spec, classes, per_class)
    samples = _samples(rows, split, spec, lambda: read_codebook(generator, family).to(on))
    if keep.images != "none" and pictures is None:
        samples = _decoded(samples, lambda: load_generator(generator, on, family=family, decode_only=True))
    imported = with_images(samples, keep.images, keep.quality)
    write_shards(output, imported, len(classes) * per_class, shard_size, "importing")


def _taken(
    source: Iterator[Rows], path: Path, spec: GeneratorSpec, classes: list[int], per_class: int
) -> Iterator[tuple[Rows, NDArray[np.int64]]]:
    """The first ``per_class`` rows of every class, some at a time, and their indices within their class."""
    found = np.zeros(_last_class(spec) + 1, np.int64)
    for rows in source:
        _check(rows, spec)
        before = np.tril(rows.labels[:, None] == rows.labels, -1).sum(1)  # rows of the same class above each
        indices = found[rows.labels] + before
        np.add.at(found, rows.labels, 1)
        kept = np.isin(rows.labels, classes) & (indices < per_class)
        yield rows.only(kept), indices[kept]
    for label in classes:
        if found[label] < per_class:
            raise InputError(f"{path}: {found[label]} rows of class {label}; {per_class} are asked for")
    if left := found.sum() - per_class * len(classes):
        log.info("%s: %d rows beyond the first %d of %d classes are left out", path, left, per_class, len(classes))


def _check(rows: Rows, spec: GeneratorSpec) -> None:
    """Labels and tokens are those of the generator."""
    last = _last_class(spec)
    for row in np.flatnonzero((rows.labels < 0) | (rows.labels > last))[:1]:
        raise InputError(f"{rows.where(row)}: label {rows.labels[row]}; the generator has classes 0 to {last}")
    first, codes = _first_tokens(spec)
    given = np.array([path is None for path in rows.embeddings])[:, None]
    for row, position in np.argwhere(given & ((rows.grids < first) | (rows.grids >= first + codes)))[:1]:
        token, lowest = rows.grids[row, position], first[position]
        where = f" at position {position}" if spec.scales else ""
        raise InputError(
            f"{rows.where(row)}: token {token}; the generator has tokens {lowest} to {lowest + codes - 1}{where}"
        )


def _first_tokens(spec: GeneratorSpec) -> tuple[NDArray[np.int64], int]:
    """The lowest token of every position, ``[P]``, and the number of tokens that it can have: those of its scale."""
    layout = Layout(spec.grid, spec.scales)
    codes = spec.codes // len(layout.tilings)
    return layout.scale_of * codes, codes


def _last_class(spec: GeneratorSpec) -> int:
    """The largest label: a generator without class names takes grids of any classes."""
    return len(spec.class_names) - 1 if spec.class_names else MAX_LABEL


def _samples(
    taken: Iterator[tuple[Rows, NDArray[np.int64]]],
    split: str,
    spec: GeneratorSpec,
    codebook_of: Callable[[], torch.Tensor],
) -> Iterator[list[Sample]]:
    """Samples of the rows that are taken; the codebook is read once a row has an embedding in place of tokens."""
    codebook: torch.Tensor | None = None
    infos = [{"class_name": name} for name in spec.class_names] or [{}] * (MAX_LABEL + 1)
    size: tuple[int, int] | None = None
    for rows, indices in taken:
        missing = [row for row, path in enumerate(rows.embeddings) if path is not None]
        if missing:
            codebook = codebook_of() if codebook is None else codebook
            _snap(rows, missing, codebook, spec)
        grids = rows.grids.reshape(-1, *spec.grid).astype(np.uint16)
        samples = [
            Sample(f"{split}-{label:04d}-{index:06d}", label, grid, info=infos[label])
            for label, index, grid in zip(rows.labels.tolist(), indices.tolist(), grids, strict=True)
        ]
        for sample, picture in zip(samples, rows.pictures, strict=bool(rows.pictures)):
            sample.image = decoded(picture, spec.map, size)
            size = size or (sample.image.shape[0], sample.image.shape[1])
        yield samples


def _snap(rows: Rows, missing: list[int], codebook: torch.Tensor, spec: GeneratorSpec) -> None:
    """Fill in the tokens that are missing: the codes nearest to the embeddings."""
    height, width = spec.grid
    lowest, codes = _first_tokens(spec)
    step = max(1, DISTANCES // (height * width * codes))
    for first in range(0, len(missing), step):
        part = missing[first : first + step]
        shape = (spec.channels, height, width)
        vectors = [read_embedding(path, shape, rows.where(row)) for row in part if (path := rows.embeddings[row])]
        stacked = torch.from_numpy(np.stack(vectors)).to(codebook.device)
        nearest = nearest_codes(stacked.permute(0, 2, 3, 1), codebook[:codes]).flatten(1).cpu().numpy()
        rows.grids[part] = nearest + lowest


def _decoded(batches: Iterator[list[Sample]], generator_of: Callable[[], Generator]) -> Iterator[list[Sample]]:
    """The samples with their images, which a generator decodes, some at a time."""
    model = generator_of()
    for samples in batches:
        for first in range(0, len(samples), DECODED):
            part = samples[first : first + DECODED]
            grids = torch.from_numpy(np.stack([sample.grid for sample in part]).astype(np.int64))
            for sample, image in zip(part, model.decode(grids).cpu().numpy(), strict=True):
                sample.image = image
            yield part

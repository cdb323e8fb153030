"""Grids beside those of codebook searches: the images themselves, real images of the target class, and regions from
random codes, from another image, and from the generator.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds, uniforms
from cortex.data.tokens import Tokens
from cortex.evaluate.codebook_level import edited_grids
from cortex.generators.base import Generator, Prior
from cortex.generators.prior import draw_region
from cortex.generators.sampling import Sampling


@dataclass(frozen=True)
class Candidates:
    """N grids that methods propose for images.

    Args:
        extractor: the trained extractor of the method, as name/training; one a grid. None: a method without extractor.
        method: one a grid.
        step: recorded step of a search, or number of a draw, from 1; one a grid.
        image: number of the searched image, int64 ``[N]``.
        grids: int64 ``[N, h, w]``.
    """

    extractor: list[str | None]
    method: list[str]
    step: NDArray[np.integer]
    image: NDArray[np.integer]
    grids: NDArray[np.int64]

    def last(self) -> "Candidates":
        """The last step or draw of every extractor, method and image."""
        rows: dict[tuple[Any, ...], int] = {}
        for row in np.argsort(self.step, kind="stable").tolist():
            rows[self.extractor[row], self.method[row], int(self.image[row])] = row
        kept = sorted(rows.values())
        return Candidates(
            extractor=[self.extractor[row] for row in kept],
            method=[self.method[row] for row in kept],
            step=self.step[kept],
            image=self.image[kept],
            grids=self.grids[kept],
        )


@dataclass(frozen=True)
class Searched:
    """The M images that were searched, and the region.

    Args:
        keys, source, target: one an image; classes int64 ``[M]``.
        grids: int64 ``[M, h, w]``.
        positions: p of the region, in the flattened grid.
        donors: grids of the test split int64 ``[D, h, w]`` by class, for every target.
    """

    keys: list[str]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    grids: NDArray[np.int64]
    positions: list[int]
    donors: dict[int, NDArray[np.int64]]


def read_images(paths: list[Path], tables: list[pa.Table], test: Tokens) -> Searched:
    """The images that all searches are of, and those of the target classes.

    Args:
        paths: files of searches, for error messages.
        tables: their rows.
        test: the test split.

    Raises:
        InputError: the searches differ in images, pairs or region, or an image is not in the test split.
    """
    first: dict[str, tuple[Any, ...]] = {}
    for path, table in zip(paths, tables, strict=True):
        of_key = {row[0]: row[1:] for row in zip(*(table[name].to_pylist() for name in _IMAGE), strict=True)}
        first = first or of_key
        if of_key != first:
            raise InputError(f"{path}: not of the same images, classes and region as {paths[0]}")
    sources, targets, positions = zip(*first.values(), strict=True)
    donors = {target: test.grids[test.labels == target] for target in set(targets)}
    for target, grids in donors.items():
        if not len(grids):
            raise InputError(f"{paths[0]}: no image of target class {target} in {test.path}")
    return Searched(
        keys=list(first),
        source=np.array(sources),
        target=np.array(targets),
        grids=test.grids[test.rows_of(first)],
        positions=positions[0],
        donors=donors,
    )


_IMAGE = ("key", "source", "target", "positions")


def candidates(
    tables: list[pa.Table],
    made_with: list[str],
    images: Searched,
    model: Generator,
    prior: Prior | None,
    sampling: Sampling,
    batch: int,
    seed: int,
) -> Candidates:
    """Grids of the searches, of the references, of the images themselves, and real ones of the target.

    Args:
        tables: rows of searches.
        made_with: the trained extractor of each.
        images: the images that were searched.
        model: the generator.
        prior: its prior; None: no region is drawn.
        sampling: options of the generator's draws.
        batch: images at once.
        seed: seed of the references' random numbers.
    """
    number = {key: place for place, key in enumerate(images.keys)}
    parts: list[tuple[str | None, list[str], NDArray[Any], NDArray[Any], NDArray[np.int64]]] = []
    for name, table in zip(made_with, tables, strict=True):
        image = np.array([number[key] for key in table["key"].to_pylist()])
        found = np.array(table["tokens"].to_pylist(), np.int64)
        parts.append(
            (name, table["method"].to_pylist(), np.asarray(table["step"]), image, _with_region(images, image, found))
        )
    draws = max(len(set(table["step"].to_pylist())) for table in tables)
    every, step = np.repeat(np.arange(len(images.keys)), draws), np.tile(np.arange(1, draws + 1), len(images.keys))
    donors = donor_grids(images, draws, seed)
    region = donors.reshape(*donors.shape[:2], -1)[:, :, images.positions]
    drawn = {"random_codes": random_codes(images, len(model.codebook), draws, seed), "pasted_region": region}
    if prior is not None:
        drawn["drawn_region"] = generator_draws(images, prior, model.device, draws, sampling, batch, seed)
    for method, tokens in drawn.items():
        grids = _with_region(images, every, tokens.reshape(len(every), -1))
        parts.append((None, [method] * len(every), step, every, grids))
    once, itself = np.ones(len(images.keys), int), np.arange(len(images.keys))
    # The donor whose region was pasted last: the same tokens in their own image and in another.
    for method, grids in (("unedited", images.grids), ("real_target", donors[:, -1])):
        parts.append((None, [method] * len(once), once, itself, grids))
    return Candidates(
        extractor=[name for name, methods, *_ in parts for _ in methods],
        method=[method for _, methods, *_ in parts for method in methods],
        step=np.concatenate([step for _, _, step, _, _ in parts]),
        image=np.concatenate([image for _, _, _, image, _ in parts]),
        grids=np.concatenate([grids for *_, grids in parts]),
    )


def random_codes(images: Searched, codes: int, draws: int, seed: int) -> NDArray[np.int64]:
    """Uniformly random codes for the region, int64 ``[M, draws, p]``."""
    count = len(images.positions)
    numbers = uniforms(key_seeds(seed, "random codes", images.keys), draws * count)
    return (numbers * codes).astype(np.int64).reshape(-1, draws, count)


def donor_grids(images: Searched, draws: int, seed: int) -> NDArray[np.int64]:
    """Test images of the target class, int64 ``[M, draws, h, w]``: different ones as long as there are as many."""
    seeds = key_seeds(seed, "donors", images.keys)
    chosen = np.empty((len(images.keys), draws, *images.grids.shape[1:]), np.int64)
    for target, grids in images.donors.items():
        rows = np.flatnonzero(images.target == target)
        order = uniforms(seeds[rows], len(grids)).argsort(1)
        chosen[rows] = grids[order[:, np.arange(draws) % len(grids)]]
    return chosen


def generator_draws(
    images: Searched, prior: Prior, device: torch.device, draws: int, sampling: Sampling, batch: int, seed: int
) -> NDArray[np.int64]:
    """Tokens that the generator draws for the region, conditioned on the target, int64 ``[M, draws, p]``."""
    count = len(images.positions)
    numbers = uniforms(key_seeds(seed, "drawn region", images.keys), draws * count).reshape(-1, count)

    def draw(grids: Tensor, classes: Tensor, some: Tensor) -> Tensor:
        flat = grids.flatten(1).to(device)
        return draw_region(prior, classes.to(device), flat, images.positions, some.to(device), sampling)

    inputs = [np.repeat(images.grids, draws, axis=0), np.repeat(images.target, draws), numbers]
    found: NDArray[np.int64] = in_batches(draw, inputs, batch, "drawn regions").numpy()
    return found.reshape(-1, draws, count)


def in_batches(work: Callable[..., Tensor], inputs: Sequence[NDArray[Any]], batch: int, what: str) -> Tensor:
    """Results of ``work`` on arrays ``[N, …]``, some rows at a time, on the CPU."""
    parts = list(zip(*(torch.from_numpy(array).split(batch) for array in inputs), strict=True))
    return torch.cat([work(*part).cpu() for part in progress(parts, len(parts), what, "batch")])


def _with_region(images: Searched, image: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    return edited_grids(images.grids[image], np.tile(images.positions, (len(image), 1)), tokens)

"""What is held beside codebook searches: the images themselves, real ones of the target class, and regions that need no
search: random codes, another image's region, and what the generator draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from taming.modules.transformer.mingpt import GPT
from torch import Tensor

from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.randomness import key_seeds, uniforms
from cortex.data.shard_reader import read_shard
from cortex.evaluate.codebook_level import edited_grids
from cortex.generators.taming.generator import Generator
from cortex.generators.taming.likelihood import draw_region


@dataclass(frozen=True)
class Candidates:
    """Grids that methods propose for images, N of them.

    Args:
        extractor: that the method worked with, one a grid; None: with none.
        method: one a grid.
        step: recorded step of a search, or number of a draw, from 1; one a grid.
        image: which of the searched images, int64 ``[N]``.
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
    """The images that were searched, M of them, and the region.

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


def read_images(paths: list[Path], tables: list[pa.Table], shards: list[Path], codes: int) -> Searched:
    """The images that all searches are of, and those of the target classes.

    Raises:
        InputError: the searches differ in images, pairs or region, or an image is not in the shards.
    """
    first: dict[str, tuple[Any, ...]] = {}
    for path, table in zip(paths, tables, strict=True):
        of_key = {row[0]: row[1:] for row in zip(*(table[name].to_pylist() for name in _IMAGE), strict=True)}
        first = first or of_key
        if of_key != first:
            raise InputError(f"{path}: not of the same images, classes and region as {paths[0]}")
    targets = {target for _, target, _ in first.values()}
    grid_of: dict[str, NDArray[np.int64]] = {}
    donors: dict[int, list[NDArray[np.int64]]] = {target: [] for target in targets}
    for shard in shards:
        for sample in read_shard(shard, codes=codes):
            if sample.key in first:
                grid_of[sample.key] = sample.grid.astype(np.int64)
            if sample.label in targets:
                donors[sample.label].append(sample.grid.astype(np.int64))
    for key in first:
        if key not in grid_of:
            raise InputError(f"{paths[0]}: image {key!r} is not in {shards[0].parent}")
    for target, grids in donors.items():
        if not grids:
            raise InputError(f"{paths[0]}: no image of target class {target} in {shards[0].parent}")
    sources, goals, positions = zip(*first.values(), strict=True)
    return Searched(
        keys=list(first),
        source=np.array(sources),
        target=np.array(goals),
        grids=np.stack([grid_of[key] for key in first]),
        positions=positions[0],
        donors={target: np.stack(grids) for target, grids in donors.items()},
    )


_IMAGE = ("key", "source", "target", "positions")


def candidates(
    tables: list[pa.Table],
    made_with: list[str],
    images: Searched,
    gpt: GPT | None,
    model: Generator,
    choice: dict[str, Any],
    batch: int,
    seed: int,
) -> Candidates:
    """What the searches found, the references, the images themselves and real ones of the target."""
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
    if gpt is not None:
        drawn["drawn_region"] = generator_draws(images, gpt, model.device, draws, choice, batch, seed)
    for method, tokens in drawn.items():
        grids = _with_region(images, every, tokens.reshape(len(every), -1))
        parts.append((None, [method] * len(every), step, every, grids))
    once, itself = np.ones(len(images.keys), int), np.arange(len(images.keys))
    # The donor whose region was pasted last: a pair of the same tokens, at home and away.
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
    images: Searched, gpt: GPT, device: torch.device, draws: int, choice: dict[str, Any], batch: int, seed: int
) -> NDArray[np.int64]:
    """What the generator draws for the region, conditioned on the target, int64 ``[M, draws, p]``."""
    count = len(images.positions)
    numbers = uniforms(key_seeds(seed, "drawn region", images.keys), draws * count).reshape(-1, count)

    def draw(grids: Tensor, classes: Tensor, some: Tensor) -> Tensor:
        return draw_region(
            gpt, classes.to(device), grids.flatten(1).to(device), images.positions, some.to(device), **choice
        )

    inputs = [np.repeat(images.grids, draws, axis=0), np.repeat(images.target, draws), numbers]
    found: NDArray[np.int64] = in_batches(draw, inputs, batch, "drawn regions").numpy()
    return found.reshape(-1, draws, count)


def in_batches(work: Callable[..., Tensor], inputs: Sequence[NDArray[Any]], batch: int, what: str) -> Tensor:
    """What ``work`` makes of arrays ``[N, …]``, some rows at a time, on the CPU."""
    parts = list(zip(*(torch.from_numpy(array).split(batch) for array in inputs), strict=True))
    return torch.cat([work(*part).cpu() for part in progress(parts, len(parts), what, "batch")])


def _with_region(images: Searched, image: NDArray[Any], tokens: NDArray[np.int64]) -> NDArray[np.int64]:
    return edited_grids(images.grids[image], np.tile(images.positions, (len(image), 1)), tokens)

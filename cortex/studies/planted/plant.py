"""Write the planted benchmark's data: shards as those of a run, and the truth about them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds
from cortex.core.tables import write_table
from cortex.core.weights import write_weights
from cortex.data.packed import pack_grids
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.explain.concept_tokens import count_frequent
from cortex.studies.planted import Variant
from cortex.studies.planted.grids import ROLES, PlantedCodes, choose_codes, draw_grids
from cortex.studies.planted.limits import most_codes, needed_positions

CODES = pa.schema([("label", pa.int32()), ("token", pa.int32()), ("role", pa.string())])


def plant(
    folder: Path,
    *,
    variant: Variant,
    classes: int = 6,
    height: int = 16,
    width: int = 16,
    codes: int = 128,
    channels: int = 256,
    codes_per_class: int = 2,
    positions: int = 8,
    train: int = 300,
    validation: int = 60,
    test: int = 60,
    seed: int = 0,
) -> None:
    """Draw one variant of the planted benchmark: shards, packed grids, a codebook, and what marks each class.

    The codebook is of random unit vectors, so that no two codes look alike. Validation images are as those of
    training; so are the test images, but that a shortcut's code stands in images of random classes there.

    Args:
        folder: where to write the splits' shards (SPLIT.tar) and packed grids (SPLIT.npy, but of the test split),
            codebook.safetensors, codes.parquet (label, token, role), truth.parquet (split, key, label, roles of its
            positions as numbers: background, own, shared, shortcut, decoy, from 0) and frequency.parquet (each label's
            most frequent tokens).
        variant: plain (each class has codes of its own), shortcut (and one that goes with it in training only), shared
            (half of them its neighbour's, too) or combination (two codes that mark it only together).
        classes: how many; even for shared.
        height: rows of the grid.
        width: columns of the grid.
        codes: codes in the codebook, K.
        channels: of a code's vector, d.
        codes_per_class: codes that mark a class; 2 in a combination.
        positions: how many of an image hold them; the shortcut's code takes half as many more.
        train: images of every class to train on.
        validation: images of every class to choose the epoch by, and to count concept-level tokens in.
        test: images of every class to explain.
        seed: of all that is drawn, with the variant's name.
    """
    _refuse_misfits(variant, classes, (height, width), codes, codes_per_class, positions)
    names = {"train": train, "validation": validation, "test": test}
    seeds = key_seeds(seed, f"planted {variant}", ["codebook", "codes", *names])
    of_codebook, of_codes, *of_split = map(np.random.default_rng, seeds)
    vectors = of_codebook.normal(size=(codes, channels))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    planted = choose_codes(variant, classes, codes, codes_per_class, of_codes)
    truth = []
    for (split, per_class), rng in zip(names.items(), of_split, strict=True):
        labels = np.tile(np.arange(classes), per_class)
        keys = [f"{split}-{label:04d}-{place // classes:06d}" for place, label in enumerate(labels)]
        grids, roles = draw_grids(variant, planted, labels, (height, width), positions, rng, as_trained=split != "test")
        rows = zip(keys, labels.tolist(), grids, strict=True)
        write_shard(folder / f"{split}.tar", [Sample(*row) for row in rows])
        truth.append(_truth_table(split, keys, labels, roles.reshape(len(labels), -1)))
    for split in ("train", "validation"):
        pack_grids(folder / f"{split}.npy", [folder / f"{split}.tar"], codes=codes)
    write_weights(folder / "codebook.safetensors", {"codebook": torch.from_numpy(vectors).float()}, {})
    write_table(folder / "codes.parquet", _codes_table(planted))
    write_table(folder / "truth.parquet", pa.concat_tables(truth))
    count_frequent(folder / "frequency.parquet", folder / "validation.npy", codes=codes, tokens=2 * codes_per_class)


def _refuse_misfits(
    variant: Variant, classes: int, grid: tuple[int, int], codes: int, codes_per_class: int, positions: int
) -> None:
    """Raise an InputError where what is to be planted does not fit in the codebook or the grid."""
    size, needed = grid[0] * grid[1], needed_positions(variant, classes, positions)
    if needed > size:
        raise InputError(f"{variant}: {positions} positions of each of {classes} classes: a grid has {size}")
    if positions < codes_per_class:
        raise InputError(f"positions {positions}: at least the {codes_per_class} codes of a class")
    if (most := most_codes(codes, classes)) < codes_per_class:
        raise InputError(f"{codes_per_class} codes of each of {classes} classes: at most {most} with {codes} codes")
    if variant == "shared" and classes % 2:
        raise InputError(f"{classes} classes: shared codes are those of two, so their number is even")


def _truth_table(split: str, keys: list[str], labels: NDArray[np.int64], roles: NDArray[np.uint8]) -> pa.Table:
    return pa.table(
        {
            "split": [split] * len(keys),
            "key": keys,
            "label": pa.array(labels, pa.int32()),
            "roles": pa.FixedSizeListArray.from_arrays(pa.array(roles.ravel()), roles.shape[1]),
        }
    )


def _codes_table(planted: PlantedCodes) -> pa.Table:
    classes, count = planted.codes.shape
    columns = {
        "label": np.repeat(np.arange(classes), count),
        "token": planted.codes.ravel(),
        "role": np.array(ROLES)[np.tile(planted.roles, classes)],
    }
    return pa.table(columns).cast(CODES)

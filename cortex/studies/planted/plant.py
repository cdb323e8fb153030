"""Write the planted benchmark's data: the files of a run's splits, and the ground truth."""

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
from cortex.data.tokens import read_shard_tokens
from cortex.explain.concept_tokens import count_frequent
from cortex.studies.planted.grids import ROLES, PlantedCodes, choose_codes, draw_grids
from cortex.studies.planted.settings import PlantedGrids, Variant, needed_positions

CODES = pa.schema([("label", pa.int32()), ("token", pa.int32()), ("role", pa.string())])


def plant(
    folder: Path,
    *,
    variant: Variant,
    settings: PlantedGrids,
    height: int = 16,
    width: int = 16,
    channels: int = 256,
    seed: int = 0,
) -> None:
    """Draw one variant of the planted benchmark: images as tokens, a codebook, and the codes that mark each class.

    The codebook has random unit vectors: no two codes are alike. Validation images are drawn as those of training. So
    are the test images, except that a shortcut's code stands in images of random classes there.

    Args:
        folder: folder to write the splits' shards (SPLIT.tar), token tables (SPLIT.parquet) and packed grids
            (SPLIT.npy, but of the test split) to, and codebook.safetensors, codes.parquet (label, token, role),
            truth.parquet (split, key, label, roles of its positions as numbers: background, own, shared, shortcut,
            decoy, from 0) and frequency.parquet (each label's most frequent tokens).
        variant: plain (each class has codes of its own), shortcut (and one that goes with it in training only), shared
            (half of them its neighbour's, too) or combination (two codes that mark it only together).
        settings: classes, codes and images.
        height: rows of the grid.
        width: columns of the grid.
        channels: channels of a code's vector, d.
        seed: seed of all random numbers, with the variant's name.
    """
    needed = needed_positions(variant, settings.classes, settings.positions)
    if needed > height * width:
        planted_there = f"{variant}: {settings.positions} positions of each of {settings.classes} classes"
        raise InputError(f"{planted_there}: a grid has {height * width}")
    sizes = dict(settings.per_class)
    seeds = key_seeds(seed, f"planted {variant}", ["codebook", "codes", *sizes])
    of_codebook, of_codes, *of_split = map(np.random.default_rng, seeds)
    vectors = of_codebook.normal(size=(settings.codes, channels))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    planted = choose_codes(variant, settings.classes, settings.codes, settings.codes_per_class, of_codes)
    truth = []
    for (split, per_class), rng in zip(sizes.items(), of_split, strict=True):
        labels = np.tile(np.arange(settings.classes), per_class)
        keys = [f"{split}-{label:04d}-{place // settings.classes:06d}" for place, label in enumerate(labels)]
        shape, as_trained = (height, width), split != "test"
        grids, roles = draw_grids(variant, planted, labels, shape, settings.positions, rng, as_trained=as_trained)
        write_shard(folder / f"{split}.tar", [Sample(*row) for row in zip(keys, labels.tolist(), grids, strict=True)])
        read_shard_tokens(folder / f"{split}.parquet", folder / f"{split}.tar", codes=settings.codes)
        truth.append(_truth_table(split, keys, labels, roles.reshape(len(labels), -1)))
    for split in ("train", "validation"):
        pack_grids(folder / f"{split}.npy", [folder / f"{split}.parquet"], codes=settings.codes)
    write_weights(folder / "codebook.safetensors", {"codebook": torch.from_numpy(vectors).float()}, {})
    write_table(folder / "codes.parquet", _codes_table(planted))
    write_table(folder / "truth.parquet", pa.concat_tables(truth))
    frequency, listed = folder / "frequency.parquet", 2 * settings.codes_per_class
    count_frequent(frequency, folder / "validation.npy", codes=settings.codes, tokens=listed)


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

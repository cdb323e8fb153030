"""Validity: does an extractor or a judge recognise classes better than guessing? (METHOD.md, section 9)."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.intervals import mean_intervals
from cortex.extractors.names import split_name

SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("name", pa.string()),
        ("training", pa.int32()),
        ("accuracy", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("chance", pa.float64()),
        ("valid", pa.bool_()),
    ]
)


def check_validity(
    output: Path,
    *,
    extractors: list[str],
    extractor_ranks: list[Path],
    judges: tuple[str, ...] = (),
    judge_ranks: tuple[Path, ...] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Compare the top-1 accuracy of every training and judge with guessing: results of one that guesses are invalid.

    Args:
        output: Parquet to write: kind (extractor or judge), name, training (null: judges), accuracy (top-1, 0..1) with
            its 95 % bootstrap interval low and high, chance (accuracy of the best guess, the most frequent class),
            valid (whether the interval is above chance).
        extractors: trained extractors, such as cnn/0.
        extractor_ranks: label ranks by these extractors, in the same order.
        judges: names of the judges.
        judge_ranks: label ranks by these judges, in the same order.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    rows = []
    for kind, names, paths in (("extractor", extractors, extractor_ranks), ("judge", judges, judge_ranks)):
        if len(names) != len(paths):
            raise InputError(f"{len(names)} names of {kind}s, {len(paths)} files: one for each is needed")
        for word, path in zip(names, paths, strict=True):
            name, training = split_name(word) if kind == "extractor" else (word, None)
            rows.append({"kind": kind, "name": name, "training": training, **top_1(path, resamples, seed)})
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def top_1(path: Path, resamples: int, seed: int) -> dict[str, Any]:
    """Accuracy, its interval and chance of a file of label ranks."""
    ranks = read_table(path, ["label", "rank"])
    right = ranks["rank"].to_numpy() == 0
    (low,), (high,) = mean_intervals(right[None], resamples, seed)
    chance = np.bincount(ranks["label"].to_numpy()).max() / len(right)
    return {"accuracy": right.mean(), "low": low, "high": high, "chance": chance, "valid": bool(low > chance)}

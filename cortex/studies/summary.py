"""Means over images, and over trainings and images, of the rows that a study computed image by image."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.estimates import by_training, check_alike
from cortex.extractors.names import by_extractor


def summarise(
    output: Path, tables: list[Path], *, extractors: list[str], by: list[str], resamples: int = 2000, seed: int = 0
) -> None:
    """Average a study's values over images, with 95 % intervals.

    Rows of a training have intervals from bootstrapping the images (percentiles). Rows with training null are means
    over the extractor's trainings and images; their intervals cover both (METHOD.md, section 9).

    Args:
        output: Parquet to write: extractor, training (null: all of them), the columns of ``by``, images, value, low,
            high.
        tables: files of the study's rows, images in one order throughout.
        extractors: trained extractor of every file, as name/training.
        by: columns that tell the measures of the study apart.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if len(tables) != len(extractors):
        raise InputError(f"{len(tables)} files, {len(extractors)} extractors: one for each is needed")
    files = dict(zip(((word,) for word in extractors), tables, strict=True))
    parts = []
    for (extractor, *_), of_training in by_extractor(files).items():
        read = {training: _read(path, by) for training, path in of_training.items()}
        check_alike(extractor, {training: (keys, places) for training, (keys, places, _) in read.items()})
        keys, places, _ = next(iter(read.values()))
        values = {training: values for training, (_, _, values) in read.items()}
        for training, unlimited in by_training(values, resamples, seed).items():
            found = unlimited.within(places["measure"].to_pylist()) if "measure" in by else unlimited
            columns = {
                "extractor": [extractor] * len(places),
                "training": pa.array([training] * len(places), pa.int32()),
                **{name: places[name] for name in by},
                "images": pa.array([len(keys)] * len(places), pa.int32()),
                "value": found.mean,
                "low": found.low,
                "high": found.high,
            }
            parts.append(pa.table(columns))
    write_table(output, pa.concat_tables(parts))


def _read(path: Path, by: list[str]) -> tuple[list[str], pa.Table, NDArray[np.float64]]:
    """Keys of the images, the columns ``by`` of every measure, and the measures' values ``[measures, N]``.

    Raises:
        InputError: the measures are not of the same images.
    """
    rows = read_table(path, ["key", *by, "value"])
    grouped = rows.group_by(by, use_threads=False).aggregate([("key", "list"), ("value", "list")])
    keys = grouped["key_list"].to_pylist()
    if any(of_group != keys[0] for of_group in keys):
        raise InputError(f"{path}: not the same images, in the same order, for every {', '.join(by)}")
    return keys[0], grouped.select(by), np.array(grouped["value_list"].to_pylist())

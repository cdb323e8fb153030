"""Means over images, with their intervals, of the rows that a study computed image by image."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.intervals import mean_intervals
from cortex.extractors.names import split_name


def summarise(
    output: Path, tables: list[Path], *, extractors: list[str], by: list[str], resamples: int = 2000, seed: int = 0
) -> None:
    """Average a study's values over images, with a 95 % interval from bootstrapping the images (percentiles).

    Args:
        output: Parquet to write: extractor, training, the columns of ``by``, images, value, low, high.
        tables: files of the study's rows, images in one order throughout.
        extractors: trained extractor of every file, as name/training.
        by: columns that tell the measures of the study apart.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if len(tables) != len(extractors):
        raise InputError(f"{len(tables)} files, {len(extractors)} extractors: one for each is needed")
    parts = []
    for path, word in zip(tables, extractors, strict=True):
        rows = read_table(path, ["key", *by, "value"])
        grouped = rows.group_by(by, use_threads=False).aggregate([("key", "list"), ("value", "list")])
        keys = grouped["key_list"].to_pylist()
        if any(of_group != keys[0] for of_group in keys):
            raise InputError(f"{path}: not the same images, in the same order, for every {', '.join(by)}")
        values = np.array(grouped["value_list"].to_pylist())
        low, high = mean_intervals(values, resamples, seed)
        extractor, training = split_name(word)
        columns = {
            "extractor": [extractor] * len(values),
            "training": pa.array([training] * len(values), pa.int32()),
            **{name: grouped[name] for name in by},
            "images": pa.array([values.shape[1]] * len(values), pa.int32()),
            "value": values.mean(1),
            "low": low,
            "high": high,
        }
        parts.append(pa.table(columns))
    write_table(output, pa.concat_tables(parts))

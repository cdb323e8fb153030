"""The metrics: means over images of the rows that the evaluations keep, with their intervals."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.intervals import mean_intervals


def mean_by(
    output: Path,
    tables: list[Path],
    *,
    extractors: list[str],
    judges: list[str],
    by: list[str],
    measures: list[str],
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Average measures over images: one row for every extractor, judge and combination of the columns in ``by``.

    Beside every mean stands its 95 % interval, from bootstrapping the images (percentiles).

    Args:
        output: Parquet to write: extractor, judge, the columns of `by`, samples (images averaged over), and for every
            measure its mean, MEASURE_low and MEASURE_high.
        tables: evaluation files; several of one extractor and judge (shards) are averaged together.
        extractors: the extractor of every file.
        judges: the judge of every file.
        by: columns that are kept apart, such as method and n.
        measures: columns to average.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    if not len(tables) == len(extractors) == len(judges) or not tables:
        raise InputError(f"{len(tables)} files, {len(extractors)} extractors, {len(judges)} judges: one of each a file")
    files: dict[tuple[str, str], list[Path]] = {}
    for path, extractor, judge in zip(tables, extractors, judges, strict=True):
        files.setdefault((extractor, judge), []).append(path)
    parts = []
    for (extractor, judge), paths in files.items():
        rows = pa.concat_tables([read_table(path, by + measures) for path in paths])
        averages = _averages(rows, by, measures, resamples, seed)
        count = len(averages["samples"])
        parts.append(pa.table({"extractor": [extractor] * count, "judge": [judge] * count} | averages))
    write_table(output, pa.concat_tables(parts))


def _averages(rows: pa.Table, by: list[str], measures: list[str], resamples: int, seed: int) -> dict[str, Any]:
    """Columns ``by``, samples, and every measure with its interval: a row a combination, in order of appearance."""
    columns = [([], "count_all"), *((measure, "list") for measure in measures)]
    grouped = rows.group_by(by, use_threads=False).aggregate(columns)
    samples = grouped["count_all"].to_numpy()
    mean, low, high = np.empty((3, len(measures), len(grouped)))
    for count in np.unique(samples):  # combinations of as many images share their resamples
        alike = np.flatnonzero(samples == count)
        lists = (pc.list_flatten(grouped[f"{measure}_list"].take(alike)) for measure in measures)
        values = np.concatenate([part.to_numpy().reshape(len(alike), count) for part in lists])
        found = values.mean(1, dtype=np.float64), *mean_intervals(values, resamples, seed)
        mean[:, alike], low[:, alike], high[:, alike] = (each.reshape(-1, len(alike)) for each in found)
    averages: dict[str, Any] = {name: grouped[name] for name in by} | {"samples": samples}
    for place, measure in enumerate(measures):
        averages |= {measure: mean[place], f"{measure}_low": low[place], f"{measure}_high": high[place]}
    return averages


def accuracy_at(
    output: Path,
    tables: list[Path],
    *,
    of: Literal["extractor", "judge"],
    names: list[str],
    k: list[int],
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Top-k accuracy of every extractor, or of every judge, and split, with its 95 % bootstrap interval.

    Where every image is right, or none, so is every resample: the interval is that one value, and too narrow.

    Args:
        output: Parquet to write: extractor (or judge), split, k, accuracy (0..1), accuracy_low, accuracy_high,
            samples.
        tables: files of label ranks.
        of: what ranked the labels; the name of the first column.
        names: the extractor or judge of every file.
        k: the label counts as found among the k highest logits; one result for each.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    if len(tables) != len(names) or not tables:
        raise InputError(f"{len(tables)} files, {len(names)} names: one for each is needed")
    rows = []
    for path, name in zip(tables, names, strict=True):
        table = read_table(path, ["split", "rank"])
        for split in pc.unique(table["split"]).to_pylist():
            rank = np.asarray(table.filter(pc.equal(table["split"], split))["rank"])
            right = (rank < np.array(k)[:, None]).astype(np.float64)
            for at, accuracy, low, high in zip(
                k, right.mean(1), *np.clip(mean_intervals(right, resamples, seed), 0, 1), strict=True
            ):
                rows.append(
                    {
                        of: name,
                        "split": split,
                        "k": at,
                        "accuracy": accuracy,
                        "accuracy_low": low,
                        "accuracy_high": high,
                        "samples": len(rank),
                    }
                )
    write_table(output, pa.Table.from_pylist(rows))

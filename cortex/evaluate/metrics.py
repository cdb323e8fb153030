"""The metrics: means over images of the rows of the evaluations, with their intervals."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.intervals import mean_intervals
from cortex.extractors.names import split_name


def mean_by(
    output: Path,
    tables: list[Path],
    *,
    attributions: list[str | None],
    extractors: list[str],
    judges: list[str],
    by: list[str],
    measures: list[str],
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Average measures over images, a row for every attribution, extractor, judge and combination of columns in ``by``.

    Every mean has a 95 % interval from a bootstrap of the images (percentiles).

    Args:
        output: Parquet to write: attribution, extractor, training, judge, the columns of `by`, samples (images averaged
            over), and for every measure its mean, MEASURE_low and MEASURE_high.
        tables: evaluation files; several of one attribution, extractor and judge (shards) are averaged together.
        attributions: attribution of every file; None at the codebook level.
        extractors: trained extractor of every file, such as cnn/0.
        judges: judge of every file.
        by: columns to keep apart, such as method and n.
        measures: columns to average.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if not len(tables) == len(attributions) == len(extractors) == len(judges) or not tables:
        raise InputError(
            f"{len(tables)} files, {len(attributions)} attributions, {len(extractors)} extractors, {len(judges)} "
            "judges: one of each a file"
        )
    files: dict[tuple[str | None, str, str], list[Path]] = {}
    for path, attribution, extractor, judge in zip(tables, attributions, extractors, judges, strict=True):
        files.setdefault((attribution, extractor, judge), []).append(path)
    parts = []
    for (attribution, extractor, judge), paths in files.items():
        rows = pa.concat_tables([read_table(path, by + measures) for path in paths])
        averages = _averages(rows, by, measures, resamples, seed)
        count = len(averages["samples"])
        named = _named("attribution", attribution, count) | _named("extractor", extractor, count)
        parts.append(pa.table(named | _named("judge", judge, count) | averages))
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
    """Compute the top-k accuracy of every extractor or judge and split, with its 95 % bootstrap interval.

    If all images or none are recognised, every resample has the same accuracy, and the interval is too narrow.

    Args:
        output: Parquet to write: extractor and training (or judge), split, k, accuracy (0..1), accuracy_low,
            accuracy_high, samples (images).
        tables: files of label ranks.
        of: kind of network that ranked the labels.
        names: trained extractor, such as cnn/0, or judge of every file.
        k: a label counts as recognised among the k highest logits; a result for each.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if len(tables) != len(names) or not tables:
        raise InputError(f"{len(tables)} files, {len(names)} names: one for each is needed")
    tested = []
    for path, name in zip(tables, names, strict=True):
        table = read_table(path, ["split", "rank"])
        for split in pc.unique(table["split"]).to_pylist():
            rank = np.asarray(table.filter(pc.equal(table["split"], split))["rank"])
            right = (rank < np.array(k)[:, None]).astype(np.float64)
            columns = {
                **_named(of, name, len(k)),
                "split": [split] * len(k),
                "k": k,
                "accuracy": right.mean(1),
                **dict(zip(("accuracy_low", "accuracy_high"), _clipped(right, resamples, seed), strict=True)),
                "samples": [len(rank)] * len(k),
            }
            tested.append(pa.table(columns))
    write_table(output, pa.concat_tables(tested))


def _clipped(right: NDArray[np.float64], resamples: int, seed: int) -> NDArray[np.float64]:
    """Low and high end of the intervals of accuracies: a rounding may lie outside of 0..1."""
    return np.clip(mean_intervals(right, resamples, seed), 0, 1)


def _named(of: str, name: str | None, count: int) -> dict[str, pa.Array]:
    """The columns that name an attribution, a judge or a trained extractor, for so many rows."""
    if of != "extractor" or name is None:
        return {of: pa.array([name] * count, pa.string())}
    extractor, training = split_name(name)
    return {"extractor": pa.array([extractor] * count), "training": pa.array([training] * count, pa.int32())}

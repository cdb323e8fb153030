"""The metrics: means over images, and over trainings and images, of the rows of the evaluations, with intervals."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.estimates import by_training, check_alike
from cortex.evaluate.levels import DIFFERENCES
from cortex.extractors.names import by_extractor


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

    Where an extractor has several judges, rows with judge null are of the judges' mean, image by image.
    Rows of a training have 95 % intervals from a bootstrap of the images (percentiles). Rows with training null are
    means over the extractor's trainings and images; their intervals cover both (METHOD.md, section 9).

    Args:
        output: Parquet to write: attribution, extractor, training (null: all of them), judge (null: the judges' mean),
            the columns of `by`, samples (images averaged over), and for every measure its mean, MEASURE_low and
            MEASURE_high.
        tables: evaluation files; several of one attribution, extractor and judge (shards) are averaged together.
        attributions: attribution of every file; None at the codebook level.
        extractors: trained extractor of every file, such as cnn/0, or cnn/average.
        judges: judge of every file.
        by: columns to keep apart, such as method and n.
        measures: columns to average; also unmasked_probability, the probability less its change.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if not len(tables) == len(attributions) == len(extractors) == len(judges) or not tables:
        raise InputError(
            f"{len(tables)} files, {len(attributions)} attributions, {len(extractors)} extractors, {len(judges)} "
            "judges: one of each a file"
        )
    files: dict[tuple[Any, ...], list[Path]] = {}
    for path, *explained in zip(tables, extractors, attributions, judges, strict=True):
        files.setdefault(tuple(explained), []).append(path)
    of_extractors: dict[tuple[Any, ...], dict[str, dict[int, list[Path]]]] = {}
    for (*explained, judge), of_training in by_extractor(files).items():
        of_extractors.setdefault(tuple(explained), {})[judge] = of_training
    parts = []
    for (extractor, attribution), of_judges in of_extractors.items():
        for judge, rows in _by_judge(extractor, of_judges, by, measures):
            for training, averages in _averages(rows, by, measures, resamples, seed).items():
                count = len(averages["samples"])
                named = {"attribution": pa.array([attribution] * count, pa.string())}
                named |= _named(extractor, training, count) | {"judge": pa.array([judge] * count, pa.string())}
                parts.append(pa.table(named | averages))
    write_table(output, pa.concat_tables(parts))


def _by_judge(
    extractor: str, of_judges: Mapping[str, Mapping[int, list[Path]]], by: list[str], measures: list[str]
) -> Iterator[tuple[str | None, dict[int, pa.Table]]]:
    """Rows by training, of every judge; then, as None, of the mean of several judges.

    Raises:
        InputError: trainings or judges were not given the same images and settings.
    """
    first: pa.Table | None = None
    means: dict[int, list[NDArray[np.float64]]] = {}
    for judge, of_training in of_judges.items():
        rows = {training: _grouped(paths, by, measures) for training, paths in of_training.items()}
        places = {training: table.select([*by, "key_list"]) for training, table in rows.items()}
        check_alike(extractor, places)
        own = next(iter(places.values()))
        first = own if first is None else first
        if own != first or (means and means.keys() != rows.keys()):
            other = next(iter(of_judges))
            raise InputError(
                f"{extractor}, judge {judge}: not the same trainings, images and settings as judge {other}"
            )
        yield judge, rows
        for training, table in rows.items():
            flat = (pc.list_flatten(table[f"{name}_list"]).to_numpy() for name in measures)
            parts = [values.astype(np.float64) / len(of_judges) for values in flat]
            before = means.get(training)
            means[training] = parts if before is None else [one + more for one, more in zip(before, parts, strict=True)]
    if first is not None and len(of_judges) > 1:
        yield None, {training: _with_values(first, measures, values) for training, values in means.items()}


def _with_values(places: pa.Table, measures: list[str], values: list[NDArray[np.float64]]) -> pa.Table:
    """Rows of the same images and settings, with a list of values for every measure."""
    ends = np.cumsum([0, *pc.list_value_length(places["key_list"]).to_pylist()])
    lists = [pa.LargeListArray.from_arrays(ends, each) for each in values]
    for name, each in zip(measures, lists, strict=True):
        places = places.append_column(f"{name}_list", each)
    return places


def _grouped(paths: list[Path], by: list[str], measures: list[str]) -> pa.Table:
    """Columns ``by``, key_list and MEASURE_list: a row a combination, in order of appearance."""
    held = dict.fromkeys(name for measure in measures for name in DIFFERENCES.get(measure, (measure,)))
    rows = pa.concat_tables([read_table(path, ["key", *by, *held]) for path in paths])
    for measure in measures:
        if measure in DIFFERENCES:
            whole, part = (pc.cast(rows[name], pa.float64()) for name in DIFFERENCES[measure])
            rows = rows.append_column(measure, pc.subtract(whole, part))
    return rows.group_by(by, use_threads=False).aggregate([(name, "list") for name in ("key", *measures)])


def _averages(
    rows: Mapping[int, pa.Table], by: list[str], measures: list[str], resamples: int, seed: int
) -> dict[int | None, dict[str, Any]]:
    """By training, columns ``by``, samples, and every measure with its interval, of rows grouped alike."""
    places = next(iter(rows.values()))
    samples = pc.list_value_length(places["key_list"]).to_numpy()
    found: dict[int | None, NDArray[np.float64]] = {}
    for count in np.unique(samples):  # combinations of as many images share their resamples
        alike = np.flatnonzero(samples == count)
        values = {training: _values(table.take(alike), measures) for training, table in rows.items()}
        for training, unlimited in by_training(values, resamples, seed).items():
            of = unlimited.within([name for name in measures for _ in alike])
            numbers = found.setdefault(training, np.empty((3, len(measures), len(places))))
            numbers[:, :, alike] = np.reshape([of.mean, of.low, of.high], (3, len(measures), len(alike)))
    ends = ("", "_low", "_high")
    return {
        training: {name: places[name] for name in by}
        | {"samples": samples}
        | {f"{name}{end}": numbers[which, m] for m, name in enumerate(measures) for which, end in enumerate(ends)}
        for training, numbers in found.items()
    }


def _values(grouped: pa.Table, measures: list[str]) -> NDArray[np.floating]:
    """Values ``[measures · combinations, N]`` of combinations that have N images each."""
    lists = [pc.list_flatten(grouped[f"{measure}_list"]).to_numpy() for measure in measures]
    return np.concatenate([values.reshape(len(grouped), -1) for values in lists])


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
    """Compute the top-k accuracy of every extractor or judge, with its 95 % interval.

    Intervals of a judge or a training are bootstrapped over the images. If all images or none are recognised, every
    resample has the same accuracy, and the interval is too narrow. Rows with training null are means over the
    extractor's trainings and images; their intervals cover both (METHOD.md, section 9).

    Args:
        output: Parquet to write: extractor and training (null: all of them), or judge; split, k, accuracy (0..1),
            accuracy_low, accuracy_high, samples (images).
        tables: files of label ranks, each of one split.
        of: kind of network that ranked the labels.
        names: trained extractor, such as cnn/0, or judge of every file.
        k: a label counts as recognised among the k highest logits; a result for each.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if len(tables) != len(names) or not tables:
        raise InputError(f"{len(tables)} files, {len(names)} names: one for each is needed")
    ranked: dict[tuple[Any, ...], pa.Table] = {}
    for path, word in zip(tables, names, strict=True):
        table = read_table(path, ["split", "key", "rank"])
        for split in pc.unique(table["split"]).to_pylist():
            ranked[word, split] = table.filter(pc.equal(table["split"], split))
    parts = []
    for (name, split), of_training in by_extractor(ranked).items():
        check_alike(name, {training: table["key"] for training, table in of_training.items()})
        right = {training: table["rank"].to_numpy() < np.array(k)[:, None] for training, table in of_training.items()}
        found, images = by_training(right, resamples, seed), len(next(iter(of_training.values())))
        for training in [0] if of == "judge" else found:
            named = {"judge": [name] * len(k)} if of == "judge" else _named(name, training, len(k))
            accuracy = found[training].within(["accuracy"] * len(k))
            columns = {
                "split": [split] * len(k),
                "k": k,
                "accuracy": accuracy.mean,
                "accuracy_low": accuracy.low,
                "accuracy_high": accuracy.high,
                "samples": [images] * len(k),
            }
            parts.append(pa.table(named | columns))
    write_table(output, pa.concat_tables(parts))


def _named(extractor: str, training: int | None, count: int) -> dict[str, pa.Array]:
    """The columns that name a trained extractor, for so many rows."""
    return {"extractor": pa.array([extractor] * count), "training": pa.array([training] * count, pa.int32())}

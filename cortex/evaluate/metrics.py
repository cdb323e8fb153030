"""The metrics: means over images of the rows that the evaluations keep."""

from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cortex.errors import InputError
from cortex.tables import read_table, write_table


def mean_by(
    output: Path, tables: list[Path], *, extractors: list[str], judges: list[str], by: list[str], measures: list[str]
) -> None:
    """Average measures over images: one row for every extractor, judge and combination of the columns in ``by``.

    Args:
        output: Parquet to write: extractor, judge, the columns of `by`, samples (images averaged over), measures.
        tables: evaluation files; several of one extractor and judge (shards) are averaged together.
        extractors: the extractor of every file.
        judges: the judge of every file.
        by: columns that are kept apart, such as method and n.
        measures: columns to average.
    """
    if not len(tables) == len(extractors) == len(judges):
        raise InputError(f"{len(tables)} files, {len(extractors)} extractors, {len(judges)} judges: one of each a file")
    named = []
    for path, extractor, judge in zip(tables, extractors, judges, strict=True):
        table = read_table(path, by + measures)
        named.append(
            table.append_column("extractor", pa.array([extractor] * len(table))).append_column(
                "judge", pa.array([judge] * len(table))
            )
        )
    keys = ["extractor", "judge", *by]
    grouped = (
        pa.concat_tables(named)
        .group_by(keys, use_threads=False)
        .aggregate([([], "count_all"), *((measure, "mean") for measure in measures)])
    )
    renamed = {"count_all": "samples"} | {f"{measure}_mean": measure for measure in measures}
    columns = {renamed.get(name, name): grouped[name] for name in grouped.column_names}
    write_table(output, pa.table({name: columns[name] for name in [*keys, "samples", *measures]}))


def accuracy_at(
    output: Path, tables: list[Path], *, of: Literal["extractor", "judge"], names: list[str], k: list[int]
) -> None:
    """Top-k accuracy of every extractor, or of every judge, and split.

    Args:
        output: Parquet to write: extractor (or judge), split, k, accuracy (0..1), samples.
        tables: files of label ranks.
        of: what ranked the labels; the name of the first column.
        names: the extractor or judge of every file.
        k: the label counts as found among the k highest logits; one result for each.
    """
    if len(tables) != len(names):
        raise InputError(f"{len(tables)} files, {len(names)} names: one for each is needed")
    rows = []
    for path, name in zip(tables, names, strict=True):
        table = read_table(path, ["split", "rank"])
        for split in pc.unique(table["split"]).to_pylist():
            rank = np.asarray(table.filter(pc.equal(table["split"], split))["rank"])
            for at in k:
                rows.append(
                    {
                        of: name,
                        "split": split,
                        "k": at,
                        "accuracy": float((rank < at).mean()),
                        "samples": len(rank),
                    }
                )
    write_table(output, pa.Table.from_pylist(rows))

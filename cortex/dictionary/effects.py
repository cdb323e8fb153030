"""The causes of a class, in a row for each class and code: means over judges and images, with intervals."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.dictionary import CODE, RANDOM
from cortex.evaluate.estimates import over_trainings
from cortex.explain.pair_sums import starts_of

CHANGE = "probability_change"
PLACES = ("key", "label", "token", "method")


def effects(name: str, tables: Sequence[Path]) -> pa.Table:
    """Changes of the class's probability by an intervention on a code.

    The change of an image is the mean over judges. Intervals cover images; they are those of a t-test.

    Args:
        name: of the intervention, the beginning of the columns' names.
        tables: rows of the intervention, a file for each judge.

    Returns:
        Columns label, token, and NAME_images, NAME (mean change), NAME_random (by the random control of equal area),
        NAME_excess (the first less the second), each of these three with its 95 % interval: ..._low, ..._high. One
        image has no interval (null).

    Raises:
        InputError: a file is damaged, or the judges saw different images.
    """
    rows = [read_table(path, [*PLACES, CHANGE]) for path in tables]
    for path, table in zip(tables, rows, strict=True):
        if not table.select(PLACES).equals(rows[0].select(PLACES)):
            raise InputError(f"{path}: not of the same images and codes, in the same order, as {tables[0]}")
    mean: NDArray[np.float64] = np.mean([table[CHANGE].to_numpy() for table in rows], axis=0, dtype=np.float64)
    methods = [pc.equal(rows[0]["method"], method).to_numpy() for method in (CODE, RANDOM)]
    labels, tokens = (rows[0][column].to_numpy()[methods[0]].astype(np.int64) for column in ("label", "token"))
    by_code, by_random = (mean[chosen] for chosen in methods)
    starts = starts_of(labels << 32 | tokens)
    columns = {"label": labels[starts], "token": tokens[starts]}
    columns |= {f"{name}_images": np.diff(starts, append=len(labels))}
    for kind, values in (("", by_code), ("_random", by_random), ("_excess", by_code - by_random)):
        ends = group_means(values, starts)
        columns |= {f"{name}{kind}{end}": found for end, found in zip(("", "_low", "_high"), ends, strict=True)}
    return pa.table({column: pa.array(values, from_pandas=True) for column, values in columns.items()})


def group_means(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means of groups of values ``[S]`` that begin at ``starts``, and the ends of their intervals: ``[3, groups]``.

    A group of one value has no interval (NaN).
    """
    sizes = np.diff(starts, append=len(values))
    found = np.empty((3, len(starts)))
    for size in np.unique(sizes):
        alike = np.flatnonzero(sizes == size)
        of_group = values[starts[alike][:, None] + np.arange(size)]
        estimate = over_trainings(of_group[None]).within([CHANGE] * len(alike))
        found[:, alike] = estimate.mean, estimate.low, estimate.high
        if size == 1:
            found[1:, alike] = np.nan
    return found

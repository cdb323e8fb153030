"""The table of codes: a row for every code of the codebook."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.packed import read_packed
from cortex.data.tokens import GRID
from cortex.dictionary.kinds import KINDS, kinds_of
from cortex.dictionary.occurrences import Occurrences, count_occurrences
from cortex.dictionary.settings import Kinds
from cortex.extractors.codebook import load_codebook

AT_ONCE = 1_000  # codes whose distances to all others are computed at once


def describe_codes(
    output: Path,
    grids: Path,
    codebook: Path,
    patches: Path | None = None,
    *,
    scales: tuple[int, ...] = (),
    nearest: int,
    settings: Kinds,
) -> None:
    """Describe every code of the codebook: kind, occurrences, place in the grid, nearest codes and patches.

    Args:
        output: Parquet to write, a row a code: token, kind (marks a class, shared by classes, background, hardly used),
            sure (probability of this kind), classes (the fewest labels that together have the share of a code that
            marks a class, the highest share first; more labels may share the code), class_share (share of its
            occurrences in its first class, were classes equally frequent), same_class (how many times as often as by
            chance occurrences of two images are of one class), count (occurrences in the train images), images (that
            hold it), share (of all positions), row and column (mean place in the grid, from 0; null of tokens of
            several scales), heat (h·w uint32, row-major: occurrences by position), nearest (codes of the same scale),
            distances (of their vectors), and the columns of the patches.
        grids: packed grids of the train split.
        codebook: the generator's codebook.
        patches: table that the command describe-patches wrote; none in a run without images.
        scales: rows and columns of every scale, where tokens have several: their codes repeat, scale after scale.
        nearest: nearest codes to list.
        settings: bounds of the kinds.
    """
    vectors = load_codebook(codebook, torch.device("cpu"))
    found = count_occurrences(read_packed(grids), len(vectors))
    kinds = kinds_of(found, settings)
    near, distances = nearest_codes_of(vectors, nearest, len(scales) or 1)
    columns = {
        "token": pa.array(np.arange(found.codes), pa.int32()),
        "kind": pa.DictionaryArray.from_arrays(pa.array(kinds.kinds, pa.int8()), list(KINDS)).cast(pa.string()),
        "sure": pa.array(kinds.sure),
        "classes": kinds.classes,
        "class_share": pa.array(kinds.class_share),
        "same_class": pa.array(kinds.same_class),
        **_places(found, there=not scales),
        "nearest": _lists(near, pa.int32()),
        "distances": _lists(distances, pa.float32()),
    }
    if patches is not None:
        table = read_table(patches)
        if table["token"].to_pylist() != list(range(found.codes)):
            raise InputError(f"{patches}: patches of {len(table)} codes; {codebook} has {found.codes}")
        columns |= {name: table[name].combine_chunks() for name in table.column_names if name != "token"}
    write_table(output, pa.table(columns), {GRID: f"{found.grid[0]}x{found.grid[1]}"})


def nearest_codes_of(vectors: Tensor, count: int, repeats: int = 1) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The nearest other codes of every code by Euclidean distance, the nearest first, and the distances: ``[K, n]``.

    Args:
        vectors: ``[K, d]``; the same codes ``repeats`` times, scale after scale.
        count: codes to find, if there are so many.
        repeats: scales. Neighbours are codes of the same scale.
    """
    codes = len(vectors) // repeats
    exact = vectors[:codes].double()
    count = min(count, codes - 1)
    near, distances = [], []
    for rows in torch.arange(len(exact)).split(AT_ONCE):
        part = torch.cdist(exact[rows], exact)
        part[torch.arange(len(rows)), rows] = torch.inf
        values, places = part.topk(count, largest=False)
        near.append(places)
        distances.append(values)
    of_scales = torch.cat(near) + codes * torch.arange(repeats)[:, None, None]
    return of_scales.flatten(0, 1).numpy(), torch.cat(distances).repeat(repeats, 1).numpy()


def _places(found: Occurrences, *, there: bool) -> dict[str, pa.Array]:
    """How often every code occurs, and where; ``there``: whether a grid has rows and columns."""
    counts, position = found.heat.sum(1), np.arange(found.positions)
    occurs = (counts > 0) & there
    place = {"row": position // found.grid[1], "column": position % found.grid[1]}
    means = {name: found.heat @ values / np.maximum(counts, 1) for name, values in place.items()}
    return {
        "count": pa.array(counts),
        "images": pa.array(found.by_code(found.images).astype(np.int64)),
        "share": pa.array(counts / counts.sum()),
        **{name: pa.array(values, mask=~occurs) for name, values in means.items()},
        "heat": _lists(found.heat, pa.uint32()),
    }


def _lists(values: NDArray[Any], kind: pa.DataType) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), values.shape[1])

"""Codes in the atlas: the columns of the wall, sheets of patches, and a part for some codes each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.atlas.parts import columns_at, numbers, plain, write_part
from cortex.atlas.sample import Sample
from cortex.atlas.sheets import patch_of, write_sheet
from cortex.dictionary.kinds import KINDS
from cortex.explain import IMPORTANCE
from cortex.explain.pair_sums import starts_of

PART = 64  # codes of a part
CLASSES = 30  # classes of a code at most: those of the highest share of its occurrences
CONTEXTS = 12  # images of a code at most: those where it matters most
CAUSES = ("masked", "placed")
SHEETS = ("patch", "patch_mean", "patch_spread")

Columns = dict[str, NDArray[Any]]


def wall_columns(codes: pa.Table, rows: Columns, order: NDArray[np.int64]) -> dict[str, Any]:
    """What the wall shows and filters by: a list each, an element a code.

    Args:
        codes: table of the codes.
        rows: columns of the dictionary.
        order: of the codes by likeness.
    """
    classes = codes["classes"].to_pylist()
    first = [labels[0] if labels else -1 for labels in classes]
    shared = {token: labels for token, labels in enumerate(classes) if len(labels) > 1}
    shown = ("sure", "class_share", "count", "images", "share", "spread", "contexts")
    found = {name: plain(numbers(codes[name])) for name in shown if name in codes.column_names}
    kinds = [KINDS.index(kind) for kind in codes["kind"].to_pylist()]
    importance = {
        name.partition("/")[2]: plain(mean_by_code(rows["token"], rows["count"], rows[name], len(codes)))
        for name in rows
        if name.startswith(f"{IMPORTANCE}/")
    }
    return {"order": order.tolist(), "kind": kinds, "first": first, "shared": shared, **found, "importance": importance}


def mean_by_code(
    tokens: NDArray[np.integer], counts: NDArray[np.integer], values: NDArray[np.floating], codes: int
) -> NDArray[np.float64]:
    """Mean of a code's values over its occurrences; NaN where it has none."""
    there = np.isfinite(values)
    times = np.bincount(tokens[there], counts[there], codes)
    total = np.bincount(tokens[there], counts[there] * values[there], codes)
    return np.divide(total, times, out=np.full(codes, np.nan), where=times > 0)


def with_patches_of(codes: pa.Table, tokens: Sequence[int], described: Sequence[int]) -> pa.Table:
    """The table of the codes, with patches of some tokens, and with means and spreads of those that are described."""
    for name, kept in zip(("contexts", *SHEETS), (tokens, tokens, described, described), strict=True):
        if name in codes.column_names:
            others = ~np.isin(np.arange(len(codes)), list(kept))
            none = pa.scalar(0 if name == "contexts" else None, codes[name].type)
            values = pc.if_else(others, none, codes[name])
            codes = codes.set_column(codes.column_names.index(name), name, values)
    return codes


def write_patches(folder: Path, codes: pa.Table) -> dict[str, Any] | None:
    """Write a sheet each of typical patches, means and spreads; where they are. None in a run without images."""
    if SHEETS[0] not in codes.column_names:
        return None
    first = next((content for content in codes[SHEETS[0]].to_pylist() if content is not None), None)
    height, width = patch_of(first, (1, 1)).shape[:2]
    columns = int(np.ceil(np.sqrt(len(codes))))
    files = {
        name: write_sheet(
            folder, f"sheets/{name}", [patch_of(each, (height, width)) for each in codes[name].to_pylist()], columns
        )
        for name in SHEETS
    }
    return {"files": files, "columns": columns, "rows": -(-len(codes) // columns), "size": [height, width]}


def contexts(sample: Sample, codes: int, most: int = CONTEXTS) -> list[list[dict[str, Any]]]:
    """The images where every code matters most, by its mean score over methods: row, positions, score and scores."""
    tokens = sample.images.tokens.astype(np.int64)
    scores = np.stack(list(sample.scores.values()))
    mean = scores.mean(0)
    images = np.broadcast_to(np.arange(len(tokens))[:, None], tokens.shape)
    order = np.lexsort((-mean.ravel(), images.ravel(), tokens.ravel()))
    best = order[starts_of((tokens * len(tokens) + images).ravel()[order])]  # a row for each code and image
    best = best[np.lexsort((-mean.ravel()[best], tokens.ravel()[best]))]
    found: list[list[dict[str, Any]]] = [[] for _ in range(codes)]
    for place in best.tolist():
        row, position = divmod(place, tokens.shape[1])
        token = int(tokens[row, position])
        if len(found[token]) < most:
            found[token].append(
                {
                    "image": row,
                    "position": position,
                    "positions": np.flatnonzero(tokens[row] == token).tolist(),
                    "score": plain(mean[row, position : position + 1])[0],
                    "scores": plain(scores[:, row, position]),
                }
            )
    return found


def write_code_parts(
    folder: Path, codes: pa.Table, rows: Columns, sample: Sample | None, *, alone: int | None = None
) -> None:
    """Write the parts of the codes: ``tokens/N`` holds the codes from N · 64.

    Args:
        folder: of the atlas.
        codes: table of the codes.
        rows: columns of the dictionary.
        sample: images of the atlas; None in a run without images.
        alone: a code whose part alone is written, with all of its rows and images; all codes if not given.
    """
    classes, most = (CLASSES, CONTEXTS) if alone is None else (len(rows["token"]), len(sample.pixels) if sample else 0)
    places = contexts(sample, len(codes), most) if sample else [[] for _ in range(len(codes))]
    order = np.lexsort((-rows["class_share"], rows["token"]))
    starts = np.searchsorted(rows["token"][order], np.arange(len(codes) + 1))
    measured = measured_rows(rows)
    lists = ("classes", "heat", "nearest")
    starting = range(0, len(codes), PART) if alone is None else [alone // PART * PART]
    for start in starting:
        part = codes.slice(start, PART)
        plainly = {name: part[name].to_pylist() for name in lists}
        plainly |= {name: plain(numbers(part[name])) for name in ("row", "column", "same_class")}
        distances = [plain(np.array(each)) for each in part["distances"].to_pylist()]
        found = []
        for place in range(len(part)):
            of_code = order[starts[start + place] : starts[start + place + 1]]
            kept = of_code[(np.arange(len(of_code)) < classes) | measured[of_code]]
            found.append(
                {name: values[place] for name, values in plainly.items()}
                | {"distances": distances[place], "contexts": places[start + place], "of": len(of_code)}
                | {"rows": columns_at(rows, kept)}
            )
        write_part(folder, f"tokens/{start // PART}", found)


def measured_rows(rows: Columns) -> NDArray[np.bool_]:
    """Rows of the dictionary whose causes were measured."""
    measured = np.zeros(len(rows["token"]), bool)
    for name in CAUSES:
        if name in rows:
            measured |= np.isfinite(rows[name])
    return measured

"""The dictionary's kinds of codes against ground truth: precision and recall of each kind."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.packed import read_packed
from cortex.dictionary.kinds import BACKGROUND, KINDS, MARKS, SHARED, CodeKinds, kinds_of
from cortex.dictionary.occurrences import count_occurrences
from cortex.dictionary.settings import Kinds
from cortex.evaluate.estimates import over_images
from cortex.studies.planted.settings import Variant

SCHEMA = pa.schema(
    [("variant", pa.string()), ("kind", pa.string()), ("codes", pa.int32()), ("named", pa.int32())]
    + [(f"{measure}{end}", pa.float64()) for measure in ("precision", "recall") for end in ("", "_low", "_high")]
    + [("right_classes", pa.float64())]
)
KIND_OF_ROLE = {"own": MARKS, "shortcut": MARKS, "shared": SHARED}


def score_kinds(
    output: Path,
    data: list[Path],
    *,
    variants: list[Variant],
    codes: int,
    settings: Kinds,
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Find the kinds of the planted codes as a run's dictionary does, and compare them with the ground truth.

    Codes that mark one class in training are of the kind "marks a class", those of two classes "shared by classes", all
    others "background". So are both codes of a combination, which mark a class only together. Intervals are
    bootstrapped over codes.

    Args:
        output: Parquet to write, a row a variant and kind: variant, kind, codes (that are of this kind), named (codes
            that the dictionary gives this kind), precision (of the named codes, the share that are of this kind),
            recall (of the codes of this kind, the share that are named), each with low and high, right_classes (of
            the named codes of this kind, the share with the right classes; null: the kind has no classes).
        data: folders of the variants, as the command plant wrote them.
        variants: variant of each folder.
        codes: codes in the codebook.
        settings: bounds of the kinds.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if len(data) != len(variants):
        raise InputError(f"{len(data)} folders, {len(variants)} variants: one for each is needed")
    rows: list[dict[str, Any]] = []
    for folder, variant in zip(data, variants, strict=True):
        found = kinds_of(count_occurrences(read_packed(folder / "train.npy"), codes), settings)
        truth, classes = true_kinds(folder / "codes.parquet", variant, codes)
        rows += [{"variant": variant, **row} for row in scores(found, truth, classes, resamples, seed)]
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def true_kinds(path: Path, variant: Variant, codes: int) -> tuple[NDArray[np.int64], dict[int, set[int]]]:
    """Kind of every code, ``[K]``, and the classes of those that have some."""
    kinds, classes = np.full(codes, BACKGROUND), defaultdict[int, set[int]](set)
    if variant != "combination":
        for row in read_table(path, ["label", "token", "role"]).to_pylist():
            kinds[row["token"]] = KIND_OF_ROLE[row["role"]]
            classes[row["token"]].add(row["label"])
    return kinds, dict(classes)


def scores(
    found: CodeKinds, truth: NDArray[np.int64], classes: dict[int, set[int]], resamples: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Rows of one variant, a kind each; a kind that no code is of, and none is said to be, has no row."""
    for kind in sorted({*truth.tolist(), *found.kinds.tolist()}):
        named, right = found.kinds == kind, found.kinds == truth
        row: dict[str, Any] = {"kind": KINDS[kind], "codes": int((truth == kind).sum()), "named": int(named.sum())}
        for measure, of in (("precision", named), ("recall", truth == kind)):
            if of.any():
                estimate = over_images(right[None, of], resamples, seed).within([measure])
                ends = zip(("", "_low", "_high"), (estimate.mean, estimate.low, estimate.high), strict=True)
                row |= {f"{measure}{end}": float(values[0]) for end, values in ends}
        hits = np.flatnonzero(named & right).tolist()
        if kind in (MARKS, SHARED) and hits:
            row["right_classes"] = float(np.mean([set(found.classes[code].as_py()) == classes[code] for code in hits]))
        yield row

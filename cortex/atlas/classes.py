"""Classes in the atlas: their codes, and what masking does to the judges."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.atlas.codes import Columns, measured_rows
from cortex.atlas.parts import columns_at, numbers, plain, write_part
from cortex.core.tables import read_table

ROWS = 500  # codes of a class at most, beside its concept tokens: those of the highest log-odds
BASELINES = {"image_level": "random_area", "concept_level": "frequency"}
NAMED = [
    "level",
    "label",
    "attribution",
    "extractor",
    "training",
    "judge",
    "list",
    "area",
    "setting",
    "pairs",
    "verdict",
]
ENDS = ("difference", "low", "high")


def write_class_parts(
    folder: Path,
    labels: list[int],
    rows: Columns,
    comparisons: pa.Table | None,
    judged: Mapping[int, list[dict[str, Any]]],
) -> None:
    """Write the part of every class, ``classes/LABEL``: rows of the dictionary, and what masking does to the judges.

    Args:
        folder: of the atlas.
        labels: the classes.
        rows: columns of the dictionary.
        comparisons: rows of the metrics; None in a run without judges.
        judged: how many test images of a class every judge assigns to it; see :func:`judged_right`.
    """
    order = np.lexsort((-np.nan_to_num(rows["log_odds_low"], nan=-np.inf), rows["label"]))
    starts = np.searchsorted(rows["label"][order], labels)
    ends = np.searchsorted(rows["label"][order], labels, side="right")
    listed = measured_rows(rows)
    for name, values in rows.items():
        if "_rank/" in name:
            listed = listed | np.isfinite(values)
    changes = by_label(comparisons) if comparisons is not None else {}
    for label, start, end in zip(labels, starts, ends, strict=True):
        of_class = order[start:end]
        kept = of_class[(np.arange(len(of_class)) < ROWS) | listed[of_class]]
        part = {"of": len(of_class), "rows": columns_at(rows, kept), "changes": changes.get(label, [])}
        part["judged"] = judged.get(label, [])
        write_part(folder, f"classes/{label}", part)


def by_label(comparisons: pa.Table) -> dict[int, list[dict[str, Any]]]:
    """What masking does to the judges, by label: differences to the masks of the same area, over all trainings.

    Of an extractor with one training, its only one is taken.
    """
    chosen = None
    for level, baseline in BASELINES.items():
        of_level = pc.and_(pc.equal(comparisons["level"], level), pc.equal(comparisons["baseline"], baseline))
        chosen = of_level if chosen is None else pc.or_(chosen, of_level)
    rows = comparisons.filter(pc.and_(chosen, pc.is_valid(comparisons["label"])))
    rows = rows.filter(_over_trainings(rows))
    found: dict[int, list[dict[str, Any]]] = {}
    ends = [plain(numbers(rows[name])) for name in ENDS]
    for row, *values in zip(rows.select(NAMED).to_pylist(), *ends, strict=True):
        found.setdefault(row["label"], []).append({**row, **dict(zip(ENDS, values, strict=True))})
    return found


def judged_right(run: Path, judges: Iterable[str]) -> dict[int, list[dict[str, Any]]]:
    """By class: a row for every judge, with how many of the class's test images it assigns to it, and of how many."""
    found: dict[int, list[dict[str, Any]]] = {}
    for judge in judges:
        table = read_table(run / "evaluation" / "judge_accuracy" / f"{judge}.parquet", ["label", "predicted"])
        labels, predicted = (table[name].to_numpy() for name in ("label", "predicted"))
        images, right = np.bincount(labels), np.bincount(labels[predicted == labels], minlength=labels.max() + 1)
        for label in np.flatnonzero(images).tolist():
            row = {"judge": judge, "right": int(right[label]), "of": int(images[label])}
            found.setdefault(label, []).append(row)
    return found


def _over_trainings(rows: pa.Table) -> NDArray[np.bool_]:
    """Rows over all trainings; of an extractor without such rows, those of its first training."""
    extractors, trainings = np.array(rows["extractor"].to_pylist()), numbers(rows["training"]).astype(np.float64)
    over = np.isnan(trainings)
    return over | ((trainings == 0) & ~np.isin(extractors, extractors[over]))


def read_comparisons(run: Path) -> pa.Table | None:
    """The comparisons of a run that the atlas shows; None of a run without judges."""
    path = run / "metrics" / "comparisons.parquet"
    return read_table(path, ["baseline", *NAMED, *ENDS]) if path.exists() else None

"""Tables of a comparison: each function returns the rows of one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from cortex.compare.runs import ComparedRun
from cortex.compare.shared import Shared
from cortex.compare.values import AREAS, MEASURES, Masks, Readings, read_masks, right_answers
from cortex.evaluate.comparisons import judge_claims
from cortex.evaluate.estimates import Estimates, Values, by_training, over_trainings
from cortex.evaluate.two_samples import difference

Row = dict[str, Any]
TEXT, WHOLE, REAL = pa.string(), pa.int32(), pa.float64()


def _schema(*fields: tuple[str, pa.DataType], measures: Sequence[str]) -> pa.Schema:
    """Fields, then measures with their intervals."""
    return pa.schema([*fields, *((f"{name}{end}", REAL) for name in measures for end in ("", "_low", "_high"))])


ACCURACY = _schema(
    ("run", TEXT), ("extractor", TEXT), ("training", WHOLE), ("class", TEXT), ("choices", WHOLE), ("images", WHOLE),
    measures=("accuracy",),
)  # fmt: skip
CURVES = _schema(
    ("run", TEXT), ("attribution", TEXT), ("extractor", TEXT), ("training", WHOLE), ("judge", TEXT), ("class", TEXT),
    ("area", REAL), ("images", WHOLE), measures=MEASURES,
)  # fmt: skip
DIFFERENCES = pa.schema(
    [
        ("measure", TEXT),
        ("run", TEXT),
        ("other_run", TEXT),
        ("attribution", TEXT),
        ("extractor", TEXT),
        ("judge", TEXT),
        ("area", REAL),
        ("trainings", WHOLE),
        ("other_trainings", WHOLE),
        ("images", WHOLE),
        ("other_images", WHOLE),
        ("same_images", pa.bool_()),
        ("difference", REAL),
        ("low", REAL),
        ("high", REAL),
        ("effect_size", REAL),
        ("p", REAL),
        ("p_corrected", REAL),
        ("verdict", TEXT),
    ]
)
LARGEST = {"accuracy": 1.0, "excess": 2.0}  # difference of two runs, by measure
WANTED = {"accuracy": 1, "excess": -1}  # sign of a difference that speaks for the first run


@dataclass(frozen=True)
class Measured:
    """Values of all runs, image by image.

    Args:
        shared: what the runs share.
    """

    shared: Shared

    @cached_property
    def right(self) -> dict[tuple[str, str], Readings]:
        """Right answers by extractor and run."""
        return {
            (extractor, run.name): right_answers(run, extractor, self.shared.labels(run))
            for extractor in self.shared.extractors
            for run in self.shared.runs
        }

    @cached_property
    def masks(self) -> dict[tuple[str, str, str, str], Masks]:
        """Masks by attribution, extractor, judge and run."""
        return {
            (attribution, extractor, judge, run.name): read_masks(
                run, attribution, extractor, judge, self.shared.labels(run)
            )
            for attribution in self.shared.attributions
            for extractor in self.shared.extractors
            for judge in self.shared.judges
            for run in self.shared.judged
        }


def accuracy_rows(measured: Measured, resamples: int, seed: int) -> list[Row]:
    """Top-1 accuracy: of every training and all together over the shared classes, and of all together by class."""
    rows: list[Row] = []
    for run in measured.shared.runs:
        for extractor in measured.shared.extractors:
            found = measured.right[extractor, run.name]
            named: Row = {"run": run.name, "extractor": extractor, "choices": len(run.classes)}
            for training, estimates in by_training(found.by_training, resamples, seed).items():
                of: Row = {"training": training, "class": None, "images": len(found.labels)}
                rows += _rows(named | of, ("accuracy",), [{}], estimates.within(["accuracy"]))
            for name, label in zip(measured.shared.classes, measured.shared.labels(run), strict=True):
                chosen = found.labels == label
                of = {"training": None, "class": name, "images": int(chosen.sum())}
                estimates = over_trainings(found.stacked()[:, :, chosen]).within(["accuracy"])
                rows += _rows(named | of, ("accuracy",), [{}], estimates)
    return rows


def curve_rows(measured: Measured, resamples: int, seed: int) -> list[Row]:
    """Changes of the label's probability at equal area: as for the accuracy, at each area that a run's masks reach."""
    rows: list[Row] = []
    for (attribution, extractor, judge, run_name), masks in measured.masks.items():
        run = next(run for run in measured.shared.runs if run.name == run_name)
        named = {"run": run_name, "attribution": attribution, "extractor": extractor, "judge": judge}
        parts: list[tuple[str | None, Masks]] = [(None, masks)]
        labels = measured.shared.labels(run)
        parts += [(name, masks.of([label])) for name, label in zip(measured.shared.classes, labels, strict=True)]
        for name, part in parts:
            if not (areas := part.reached()):
                continue
            values = part.at(areas)
            found: Mapping[int | None, Estimates] = {None: over_trainings(values.stacked())}
            if name is None:
                found = by_training(values.by_training, resamples, seed)
            for training, estimates in found.items():
                of = {"training": training, "class": name, "images": len(part.labels)}
                bounded = estimates.within(["probability_change"] * len(MEASURES) * len(areas))
                rows += _rows(named | of, MEASURES, [{"area": area} for area in areas], bounded)
    return rows


def _rows(named: Row, measures: Sequence[str], places: Sequence[Row], estimates: Estimates) -> list[Row]:
    """A row for every place, with the measures' estimates: all places of the first measure, then of the second …"""
    rows = [named | place for place in places]
    for number, found in enumerate(estimates.rows()):
        measure, row = measures[number // len(places)], rows[number % len(places)]
        row |= {measure: found["mean"], f"{measure}_low": found["low"], f"{measure}_high": found["high"]}
    return rows


def difference_rows(measured: Measured) -> list[Row]:
    """Differences of every two runs over the shared classes, the first less the second, with corrected tests.

    The p-values of a measure and a method of importance are corrected together. A run with one training has no verdict.
    """
    shared, rows = measured.shared, list[Row]()
    for one, other in combinations(shared.runs, 2):
        named = {"run": one.name, "other_run": other.name, "same_images": shared.same_images(one, other)}
        for extractor in shared.extractors if one.classes.keys() == other.classes.keys() else ():
            values = [measured.right[extractor, run.name].stacked() for run in (one, other)]
            rows += _compared(named | {"measure": "accuracy", "extractor": extractor}, [{}], *values)
        for attribution, extractor, judge in _judged(measured, one, other):
            masks = [measured.masks[attribution, extractor, judge, run.name] for run in (one, other)]
            areas = [area for area in AREAS if all(area in of.reached() for of in masks)]
            place = {"measure": "excess", "attribution": attribution, "extractor": extractor, "judge": judge}
            if areas:
                values = [of.excess(areas) for of in masks]
                rows += _compared(named | place, [{"area": area} for area in areas], *values)
    claims = [row for row in rows if min(row["trainings"], row["other_trainings"]) > 1]
    judge_claims(
        claims,
        lambda row: (row["measure"], row.get("attribution")),
        lambda row: row["difference"] * WANTED[row["measure"]] > 0,
    )
    return rows


def _judged(measured: Measured, *runs: ComparedRun) -> list[tuple[str, str, str]]:
    """Attribution, extractor and judge of the masks of all of these runs."""
    if not all(run in measured.shared.judged for run in runs):
        return []
    return list(dict.fromkeys(place[:3] for place in measured.masks))


def _compared(named: Row, places: Sequence[Row], one: Values, other: Values) -> list[Row]:
    """A row for every place of two runs' values ``[T, places, N]``."""
    found = difference(one, other, same_images=named["same_images"])
    most = LARGEST[named["measure"]]
    of = {"trainings": len(one), "other_trainings": len(other), "images": one.shape[2], "other_images": other.shape[2]}
    rows = []
    for place, row in zip(places, found.rows(), strict=True):
        low, high = np.clip([row["low"], row["high"]], -most, most).tolist()
        kept = {name: row[name] for name in ("effect_size", "p")}
        rows.append(named | place | of | kept | {"difference": row["mean"], "low": low, "high": high})
    return rows

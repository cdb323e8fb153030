"""Is a method better than its baseline? Paired comparisons over images (METHOD.md, section 9)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.intervals import mean_intervals
from cortex.extractors.names import split_name

SCHEMA = pa.schema(
    [
        ("level", pa.string()),
        ("attribution", pa.string()),
        ("extractor", pa.string()),
        ("training", pa.int32()),
        ("judge", pa.string()),
        ("method", pa.string()),
        ("baseline", pa.string()),
        ("list", pa.string()),
        ("area", pa.float64()),
        ("setting", pa.int32()),
        ("label", pa.int32()),
        ("pairs", pa.int32()),
        ("difference", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("effect_size", pa.float64()),
        ("p", pa.float64()),
        ("p_corrected", pa.float64()),
        ("verdict", pa.string()),
    ]
)
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Level:
    """The comparison at a level of explanation (METHOD.md, section 6).

    Args:
        method: the method, a value of the rows' column ``method``.
        baselines: its baselines, values of the same column.
        setting: column that tells the method's rows of an image apart, such as n; None: an image has one row.
        label: column of the class that an image counts for.
        after: column of the outcome.
        before: column that is subtracted from it; None: none.
        wanted: sign of a good difference; -1: the method should lower the outcome further than the baseline.
        within: columns in which a method's rows and a baseline's must agree, such as the area that is masked.
    """

    method: str
    baselines: tuple[str, ...]
    setting: str | None
    label: str
    after: str
    before: str | None
    wanted: int
    within: tuple[str, ...] = ()


LEVELS = {
    "image_level": Level(
        "importance", ("random", "random_area", "random_brightness"), "n", "label", "probability_change", None, -1
    ),
    "concept_level": Level(
        "importance", ("frequency",), "top_n", "label", "probability_change", None, -1, within=("list", "area")
    ),
    "codebook_level": Level(
        "token_selection",
        ("embedding",),
        None,
        "source",
        "target_probability_after",
        "target_probability_before",
        1,
    ),
}


def compare_all(
    output: Path,
    tables: list[Path],
    *,
    levels: list[str],
    attributions: list[str | None],
    extractors: list[str],
    judges: list[str],
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Compare every method with its baselines, image by image, over all images and for each class.

    The outcome is the change of the label's probability (codebook level: of the target's). The difference is method
    minus baseline, averaged over images that both were applied to. Its 95 % interval comes from bootstrapping the
    images (percentiles), its p-value from a paired t-test. The effect size is the mean difference in standard
    deviations of the differences. p is corrected for the number of comparisons (Holm, 1979) of a level and attribution,
    those over all images apart from those of single classes; intervals are not corrected. The verdict is better, worse
    or "no difference found" (p_corrected at least 0.05).

    Args:
        output: Parquet to write: level, attribution (null at the codebook level), extractor, training, judge, method,
            baseline, list and area (of the masked tokens; null at other levels than the concept level, and for a fixed
            number of tokens), setting (n or top_n; null at the codebook level), label (null: all images), pairs
            (images), difference, low, high, effect_size, p, p_corrected, verdict.
        tables: evaluation files; several of one level, attribution, extractor and judge (shards) count together.
        levels: level of every file: image_level, concept_level or codebook_level.
        attributions: attribution of every file; None at the codebook level.
        extractors: trained extractor of every file, such as cnn/0.
        judges: judge of every file.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if not len(tables) == len(levels) == len(attributions) == len(extractors) == len(judges) or not tables:
        raise InputError(
            f"{len(tables)} files, {len(levels)} levels, {len(attributions)} attributions, {len(extractors)} "
            f"extractors, {len(judges)} judges: one of each a file"
        )
    files: dict[tuple[str, str | None, str, str], list[Path]] = {}
    for path, level, attribution, extractor, judge in zip(
        tables, levels, attributions, extractors, judges, strict=True
    ):
        files.setdefault((level, attribution, extractor, judge), []).append(path)
    rows = []
    for (level, attribution, extractor, judge), paths in files.items():
        if level not in LEVELS:
            raise InputError(f"level {level!r}: allowed: {', '.join(LEVELS)}")
        name, training = split_name(extractor)
        of = {"level": level, "attribution": attribution, "extractor": name, "training": training, "judge": judge}
        rows += [{**of, **row} for row in compare_level(LEVELS[level], paths, resamples, seed)]
    # Every level and attribution is a question of its own: one more masking size changes no verdict on the search.
    families: dict[tuple[str, str | None, bool], list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault((row["level"], row["attribution"], row["label"] is None), []).append(row)
    for family in families.values():
        judge_family(family, lambda row: row["difference"] * LEVELS[row["level"]].wanted > 0)
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def compare_level(level: Level, paths: list[Path], resamples: int, seed: int) -> list[dict[str, Any]]:
    """The comparisons of one extractor and judge at one level, without the correction for their number."""
    labels, outcomes = read_outcomes(level, paths)
    places = [place for method, place in outcomes if method == level.method]
    compared: list[dict[str, Any]] = []
    for baseline in level.baselines:
        # A baseline without settings, such as frequency, is the baseline of every setting.
        beside = [(baseline, place if (baseline, place) in outcomes else (*place[:-1], None)) for place in places]
        if not places or not outcomes.keys() >= set(beside):
            raise InputError(f"{paths[0]}: no {baseline} beside every {level.method}")
        against = np.stack([outcomes[place] for place in beside])
        differences = np.stack([outcomes[level.method, place] for place in places]) - against
        for label in (None, *np.unique(labels).tolist()):
            part = differences if label is None else differences[:, labels == label]
            for place, row in zip(places, paired(part, resamples, seed), strict=True):
                of = {"method": level.method, "baseline": baseline, "label": label}
                of |= dict(zip((*level.within, "setting"), place, strict=True))
                compared.append({**of, **row})
    return compared


def read_outcomes(
    level: Level, paths: list[Path]
) -> tuple[NDArray[np.integer], dict[tuple[str, tuple[Any, ...]], NDArray[np.float64]]]:
    """Labels of the images ``[N]``, and their outcomes ``[N]``, in the same order, by method and place.

    A place is the values of ``level.within``, and of the setting: None where a level has none.

    Raises:
        InputError: a file is damaged, or the methods saw different images.
    """
    by = ["method", *level.within, *([level.setting] if level.setting else [])]
    columns = ["key", level.label, level.after, *([level.before] if level.before else [])]
    table = pa.concat_tables([read_table(path, by + columns) for path in paths]).sort_by("key")
    keys = labels = None
    outcomes = {}
    for (method, *place), rows in _parts(table, by):
        if keys is None or labels is None:
            keys, labels = rows["key"], rows[level.label].to_numpy()
        if not keys.equals(rows["key"]):
            of = ", ".join([method, *(f"{name} = {value}" for name, value in zip(by[1:], place, strict=True))])
            raise InputError(f"{paths[0]}: not the same images for {of} as for other methods")
        after = rows[level.after].to_numpy().astype(np.float64)
        at = tuple(place) if level.setting else (*place, None)
        outcomes[method, at] = after - rows[level.before].to_numpy() if level.before else after
    assert labels is not None  # a file of rows holds at least one
    return labels, outcomes


def _parts(table: pa.Table, columns: list[str]) -> list[tuple[tuple[Any, ...], pa.Table]]:
    """The rows of every combination of values in some columns, by these values, in order of appearance."""
    parts: list[tuple[tuple[Any, ...], pa.Table]] = [((), table)]
    for name in columns:
        parts = [
            ((*of, value), rows.filter(pc.is_null(rows[name]) if value is None else pc.equal(rows[name], value)))
            for of, rows in parts
            for value in pc.unique(rows[name]).to_pylist()
        ]
    return parts


def paired(differences: NDArray[np.float64], resamples: int, seed: int) -> list[dict[str, float | None]]:
    """Mean difference, its bootstrap interval, effect size and p-value for every row of ``[C, pairs]``.

    One pair, or pairs with equal differences, have no spread to test against: p is 1 and the effect size null.
    """
    pairs = differences.shape[1]
    mean, spread = differences.mean(1), differences.std(1, ddof=1) if pairs > 1 else np.zeros(len(differences))
    tested = spread > 1e-9 * np.abs(mean)  # outcomes are float32: a smaller spread is rounding
    p = np.ones(len(differences))
    low, high = mean.copy(), mean.copy()
    if tested.any():
        p[tested] = stats.ttest_1samp(differences[tested], 0, axis=1).pvalue
        low[tested], high[tested] = mean_intervals(differences[tested], resamples, seed)
    return [
        {
            "pairs": pairs,
            "difference": float(mean[row]),
            "low": float(low[row]),
            "high": float(high[row]),
            "effect_size": float(mean[row] / spread[row]) if tested[row] else None,
            "p": float(p[row]),
        }
        for row in range(len(differences))
    ]


def judge_family(family: list[dict[str, Any]], good: Callable[[dict[str, Any]], bool]) -> None:
    """Add p_corrected, for the number of comparisons in the family, and the verdict to rows with a p-value.

    Args:
        family: rows of comparisons, with ``p``.
        good: whether a row's difference is an improvement.
    """
    for row, p in zip(family, holm(np.array([row["p"] for row in family])), strict=True):
        row["p_corrected"] = p
        row["verdict"] = "no difference found" if p >= SIGNIFICANT else "better" if good(row) else "worse"


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values corrected for their number (Holm, 1979): at level α, the family-wise error rate is at most α."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected

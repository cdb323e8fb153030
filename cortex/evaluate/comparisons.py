"""Is a method better than its baseline? Paired comparisons over trainings and images (METHOD.md, section 9)."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.estimates import by_training, check_alike
from cortex.extractors.names import by_extractor, trainings_alone

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
FAMILY = (
    "level",
    "attribution",
    "baseline",
)  # comparisons that answer one question, and are corrected for their number
Row = dict[str, Any]


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
    minus baseline, averaged over images that both were applied to. Rows with training null are claims about an
    extractor: means over its trainings and images, whose 95 % intervals and p-values cover both (METHOD.md, section 9).
    Rows of one training describe it: bootstrap interval (percentiles) and paired t-test over images alone. The effect
    size is the mean difference in standard deviations of the differences. Claims have p_corrected, corrected for their
    number (Holm, 1979): those of a level, attribution and baseline over all images, and apart from them those of single
    classes. Intervals are not corrected. The verdict is better, worse or "no difference found" (p_corrected at least
    0.05); an extractor with one training has none.

    Args:
        output: Parquet to write: level, attribution (null at the codebook level), extractor, training (null: all of
            them), judge, method, baseline, list and area (of the masked tokens; null at other levels than the concept
            level, and for a fixed number of tokens), setting (n or top_n; null at the codebook level), label (null: all
            images), pairs (images), difference, low, high, effect_size, p, p_corrected, verdict.
        tables: evaluation files; several of one level, attribution, extractor and judge (shards) count together.
        levels: level of every file: image_level, concept_level or codebook_level.
        attributions: attribution of every file; None at the codebook level.
        extractors: trained extractor of every file, such as cnn/0, or cnn/average.
        judges: judge of every file.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if not len(tables) == len(levels) == len(attributions) == len(extractors) == len(judges) or not tables:
        raise InputError(
            f"{len(tables)} files, {len(levels)} levels, {len(attributions)} attributions, {len(extractors)} "
            f"extractors, {len(judges)} judges: one of each a file"
        )
    files: dict[tuple[Any, ...], list[Path]] = {}
    for path, level, attribution, extractor, judge in zip(
        tables, levels, attributions, extractors, judges, strict=True
    ):
        if level not in LEVELS:
            raise InputError(f"level {level!r}: allowed: {', '.join(LEVELS)}")
        files.setdefault((extractor, level, attribution, judge), []).append(path)
    rows, claims = [], []
    for (extractor, level, attribution, judge), of_training in by_extractor(files).items():
        differences = {training: read_differences(LEVELS[level], paths) for training, paths in of_training.items()}
        check_alike(extractor, {training: (of.keys, of.places) for training, of in differences.items()})
        named = {"level": level, "attribution": attribution, "extractor": extractor, "judge": judge}
        found = [named | row for row in compare(differences, resamples, seed)]
        rows += found
        claims += claims_of(found, of_training)
    judge_claims(
        claims,
        lambda row: (*(row[name] for name in FAMILY), row["label"] is None),
        lambda row: row["difference"] * LEVELS[row["level"]].wanted > 0,
    )
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


@dataclass(frozen=True)
class Differences:
    """Differences of a training's methods from their baselines at one level.

    Args:
        keys: of the images, N.
        labels: their classes ``[N]``.
        places: method, baseline, setting and the level's ``within`` of every comparison.
        values: method minus baseline, ``[comparisons, N]``.
    """

    keys: list[str]
    labels: NDArray[np.integer]
    places: list[Row]
    values: NDArray[np.float64]


def read_differences(level: Level, paths: list[Path]) -> Differences:
    """The differences of one training and judge at a level.

    Raises:
        InputError: a file is damaged, the methods saw different images, or a baseline is missing.
    """
    keys, labels, outcomes = read_outcomes(level, paths)
    places = [place for method, place in outcomes if method == level.method]
    compared: list[Row] = []
    values = []
    for baseline in level.baselines:
        # A baseline without settings, such as frequency, is the baseline of every setting.
        beside = [(baseline, place if (baseline, place) in outcomes else (*place[:-1], None)) for place in places]
        if not places or not outcomes.keys() >= set(beside):
            raise InputError(f"{paths[0]}: no {baseline} beside every {level.method}")
        for place, other in zip(places, beside, strict=True):
            of = dict(zip((*level.within, "setting"), place, strict=True))
            compared.append({"method": level.method, "baseline": baseline} | of)
            values.append(outcomes[level.method, place] - outcomes[other])
    return Differences(keys, labels, compared, np.stack(values))


def compare(differences: Mapping[int, Differences], resamples: int, seed: int) -> list[Row]:
    """Rows of one extractor and judge at one level: of every training, and of all together."""
    first = next(iter(differences.values()))
    rows = []
    for label in (None, *np.unique(first.labels).tolist()):
        chosen = np.full(len(first.keys), True) if label is None else first.labels == label
        values = {training: of.values[:, chosen] for training, of in differences.items()}
        for training, estimates in by_training(values, resamples, seed).items():
            of = {"training": training, "label": label, "pairs": int(chosen.sum())}
            for place, row in zip(first.places, estimates.rows(), strict=True):
                rows.append({**of, **place, **row, "difference": row["mean"]})
    return rows


def claims_of(rows: Sequence[Row], of_training: Mapping[int, Any]) -> list[Row]:
    """The rows over all trainings of an extractor; none where it has one training."""
    return [row for row in rows if row["training"] is None and len(trainings_alone(of_training)) > 1]


def read_outcomes(
    level: Level, paths: list[Path]
) -> tuple[list[str], NDArray[np.integer], dict[tuple[str, tuple[Any, ...]], NDArray[np.float64]]]:
    """Keys and labels of the images, N, and their outcomes ``[N]``, in the same order, by method and place.

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
    assert keys is not None and labels is not None  # a file of rows holds at least one
    return keys.to_pylist(), labels, outcomes


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


def judge_claims(claims: Sequence[Row], family: Callable[[Row], Hashable], good: Callable[[Row], bool]) -> None:
    """Add p_corrected, for the number of claims in a family, and the verdict to rows with a p-value.

    Args:
        claims: rows, with ``p``.
        family: of a row; rows of equal families are corrected together.
        good: whether a row's difference is an improvement.
    """
    families: dict[Hashable, list[Row]] = {}
    for row in claims:
        families.setdefault(family(row), []).append(row)
    for members in families.values():
        for row, p in zip(members, holm(np.array([row["p"] for row in members])).tolist(), strict=True):
            row["p_corrected"] = p
            row["verdict"] = "no difference found" if p >= SIGNIFICANT else "better" if good(row) else "worse"


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """P-values corrected for their number (Holm, 1979): at level α, the family-wise error rate is at most α."""
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return corrected

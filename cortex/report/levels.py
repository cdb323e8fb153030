"""The three levels of explanation: a method beside its baseline, counted and averaged. Claims are over trainings."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cortex.report.results import Reader, averaged, claims, of_first
from cortex.report.rows import Row, Rows, distinct, mean, select, tally

# By level: the method, its baselines, the measure that is averaged, and the columns that tell its settings apart.
METHOD = {"image_level": "importance", "concept_level": "importance", "codebook_level": "token_selection"}
BASELINES = {
    "image_level": ("random_area", "random", "random_brightness"),
    "concept_level": ("frequency",),
    "codebook_level": ("embedding",),
}
SETTING = {"image_level": "n", "concept_level": "top_n", "codebook_level": None}
CONFIDENT = 0.5  # a class of higher probability is the most probable one


@dataclass(frozen=True)
class Comparison:
    """A method beside its baseline in one setting.

    Args:
        row: the comparison: extractor, judge, setting, difference, interval, verdict.
        method, baseline: what it compares, rows of the level's metrics.
    """

    row: Row
    method: Row
    baseline: Row

    @property
    def verdict(self) -> str | None:
        """better, worse or "no difference found"; None: one training gives no verdict."""
        verdict: str | None = self.row["verdict"]
        return verdict


def compared(comparisons: Rows, rows: Rows, level: str, baseline: str) -> list[Comparison]:
    """The comparisons over all images of a level with a baseline, each with the metrics that it compares.

    Args:
        comparisons: rows of the comparisons.
        rows: metrics of the level.
        level: such as image_level.
        baseline: of the level.
    """
    setting = SETTING[level]
    at = {_place(row, row[setting] if setting is not None else None): row for row in claims(rows)}
    found = []
    for row in claims(select(comparisons, level=level, baseline=baseline, label=None)):
        place = _place(row, row["setting"])
        other = dict.fromkeys([(*place[:3], baseline, *place[4:]), (*place[:3], baseline, *place[4:-1], None)])
        beside = next(at[key] for key in other if key in at)
        found.append(Comparison(row, at[place], beside))
    return found


def of_first_method(beside: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons of the first method of importance."""
    return [one for one in beside if one.row["attribution"] == beside[0].row["attribution"]]


def without_invalid(beside: Sequence[Comparison], invalid: Sequence[Reader]) -> list[Comparison]:
    """Comparisons that depend on no extractor or judge at chance level."""
    return [one for one in beside if not any(reader.concerns(one.row) for reader in invalid)]


def _place(row: Row, setting: int | None) -> tuple[Any, ...]:
    """What tells a level's settings apart; a baseline without settings, such as frequency, is that of every setting."""
    return (
        row["attribution"],
        row["extractor"],
        row["judge"],
        row["method"],
        row.get("list"),
        row.get("area"),
        setting,
    )


def masks(beside: Sequence[Comparison]) -> dict[str, Any]:
    """How many combinations were judged better and worse, and what both masks cost and hide on average."""
    columns = ("probability_change", "masked_fraction", "masked_brightness")
    return {
        "total": len(beside),
        "verdicts": tally(one.verdict for one in beside),
        "mine": {column: mean(one.method[column] for one in beside) for column in columns},
        "theirs": {column: mean(one.baseline[column] for one in beside) for column in columns},
    }


def at_equal_area(beside: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of masks of equal area; all where none are."""
    return [one for one in beside if one.row["area"] is not None] or list(beside)


def by_list(beside: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    """Comparisons of the concept level by the kind of list: contrast, count."""
    kinds = sorted({one.row["list"] for one in beside})
    return {kind: [one for one in beside if one.row["list"] == kind] for kind in kinds}


def search_facts(beside: Sequence[Comparison]) -> dict[str, Any]:
    """What the codebook search reaches: verdicts, the target's probability before and after, over pairs."""
    after = [one.method["target_probability_after"] for one in beside]
    return {
        "total": len(beside),
        "verdicts": tally(one.verdict for one in beside),
        "before": mean(one.method["target_probability_before"] for one in beside),
        "after": mean(after),
        "lowest": min(after),
        "highest": max(after),
        "baseline": mean(one.baseline["target_probability_after"] for one in beside),
        "convinced": sum(value > CONFIDENT for value in after),
    }


def gain(row: Row) -> float:
    """Change of the target's probability by the codebook search."""
    return float(row["target_probability_after"] - row["target_probability_before"])


def typical_n(rows: Rows, area: float = 0.2) -> int:
    """The number of masked codes whose masks hide about this share of an image on average.

    Args:
        rows: metrics of the image level.
        area: share of the image.
    """
    important = select(claims(of_first(rows)), method=METHOD["image_level"])
    covered = {n: mean(row["masked_fraction"] for row in select(important, n=n)) for n in distinct(important, "n")}
    return min(covered, key=lambda n: abs(covered[n] - area))


def average_facts(rows: Rows, baseline: str) -> dict[str, float] | None:
    """Mean change of the label's probability by single trainings and by averaged scores, beside a baseline's changes.

    None where no scores were averaged.
    """
    averages = of_first(averaged(rows))
    if not averages:
        return None
    names = {row["extractor"] for row in averages}
    singles = [row for row in claims(of_first(rows)) if row["extractor"] in names]
    found = {}
    for name, part in (("single", singles), ("average", averages)):
        for key, method in ((name, METHOD["image_level"]), (f"{name}_baseline", baseline)):
            found[key] = mean(row["probability_change"] for row in select(part, method=method))
    return found


def span(values: Iterable[float]) -> tuple[float, float]:
    """The lowest and the highest value."""
    found = list(values)
    return min(found), max(found)

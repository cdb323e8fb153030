"""Findings of the method itself: accuracies, and the three levels of explanation. ``findings.j2`` has their words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cortex.extractors.names import by_extractor
from cortex.report import TEMPLATES
from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, distinct, mean, select, tally
from cortex.report.topic import Finding

PROSE = Prose(TEMPLATES / "findings.j2")
HARDLY = 0.05  # a probability that changes by less hardly moves
MOST = 0.75  # of an image: masks that hide more leave little to judge by


@dataclass(frozen=True)
class Comparison:
    """A method beside its baseline in one setting.

    Args:
        pair: extractor and judge.
        setting: what else is fixed, such as n; None where nothing is.
        verdict: better, worse or "no difference found", as the comparisons say; None of one training.
        method, baseline: their rows of the metrics.
    """

    pair: tuple[str, str]
    setting: int | None
    verdict: str | None
    method: Row
    baseline: Row


def compared(comparisons: Rows, rows: Rows, level: str, baseline: str, setting: str | None = None) -> list[Comparison]:
    """The comparisons over all images of a level with a baseline, each with the metrics that it compares.

    Args:
        comparisons: rows of the comparisons.
        rows: metrics of the level.
        level: such as image_level.
        baseline: value of the columns ``baseline`` and, in the metrics, ``method``.
        setting: column of the metrics that a comparison's setting is of. A baseline that is null there serves all.
    """
    at = {
        (row["extractor"], row["judge"], row["method"], row[setting] if setting is not None else None): row
        for row in rows
    }
    found = []
    for row in select(comparisons, level=level, baseline=baseline, label=None):
        pair, value = (row["extractor"], row["judge"]), row["setting"]
        other = at.get((*pair, baseline, value)) or at[(*pair, baseline, None)]
        found.append(Comparison(pair, value, row["verdict"], at[(*pair, row["method"], value)], other))
    return found


def gain(row: Row) -> float:
    """Change of the target's probability by the codebook search."""
    return float(row["target_probability_after"] - row["target_probability_before"])


def extractor_findings(rows: Rows, classes: int) -> list[Finding]:
    """Extractor accuracy: the best and the worst extractor, beside guessing."""
    found = []
    for split, k, of_split in _least_k(rows):
        ranked = sorted(of_split, key=lambda row: -row["accuracy"])
        chance = k / classes
        facts = {
            "split": split,
            "k": k,
            "ranked": ranked,
            "classes": classes,
            "chance": chance,
            "at_chance": [row["extractor"] for row in ranked if row["accuracy"] <= chance],
        }
        found.append(PROSE.finding("extractors", **facts))
    return found


def judge_findings(rows: Rows) -> list[Finding]:
    """Judge accuracy: how often the judges name the class that the generator was asked for."""
    return [PROSE.finding("judges", split=split, k=k, rows=of_split) for split, k, of_split in _least_k(rows)]


def image_level_findings(rows: Rows, comparisons: Rows) -> list[Finding]:
    """Image level: whether masking important tokens costs more probability than each of the random masks."""
    found = []
    for baseline in ("random", "random_area", "random_brightness"):
        if beside := compared(comparisons, rows, "image_level", baseline, "n"):
            facts = {"baseline": baseline, "places": places(beside)} | masking_facts(beside)
            found.append(PROSE.finding("image_level", **facts))
    important = select(rows, method="importance")
    raised = sum(row["probability_change"] >= 0 for row in important)
    if found and raised:
        found[-1].details.append(PROSE.text("not_lowered", raised=raised, total=len(important)))
    return found


def concept_level_findings(rows: Rows, comparisons: Rows) -> list[Finding]:
    """Concept level: whether concept-level tokens cost more probability than frequent ones, and at what area."""
    beside = compared(comparisons, rows, "concept_level", "frequency", "top_n")
    if not beside:
        return []
    facts = masking_facts(beside)
    hide_most = min(facts["mine"]["masked_fraction"], facts["theirs"]["masked_fraction"]) > MOST
    return [PROSE.finding("concept_level", hide_most=hide_most, places=places(beside), **facts)]


def codebook_level_findings(rows: Rows, comparisons: Rows) -> list[Finding]:
    """Codebook level: whether token selection raises the target's probability more than embedding optimisation."""
    beside = compared(comparisons, rows, "codebook_level", "embedding")
    if not beside:
        return []
    idle = [one for one in beside if abs(gain(one.baseline)) < HARDLY]
    facts = {
        "verdicts": tally(one.verdict for one in beside),
        "gains": _gains(beside),
        "places": places(beside),
        "idle": [one.pair for one in idle],
        "hardly": HARDLY,
        "gains_of_rest": _gains([one for one in beside if one not in idle]) if idle else None,
        "not_raised": [one.pair for one in beside if gain(one.method) <= 0],
    }
    return [PROSE.finding("codebook_level", **facts)]


def overlap_finding(lists: Mapping[str, Mapping[int, list[int]]], frequent: Mapping[int, list[int]]) -> Finding:
    """How many of the concept-level tokens are also among the class's most frequent ones.

    Args:
        lists: by trained extractor and label, the concept-level tokens.
        frequent: by label, the most frequent tokens.
    """
    of_training = by_extractor({(trained,): of_label for trained, of_label in lists.items()})
    shares = {
        name: mean(
            len(set(tokens) & set(frequent.get(label, ()))) / len(tokens)
            for of_label in trainings.values()
            for label, tokens in of_label.items()
        )
        for (name, *_), trainings in of_training.items()
    }
    return PROSE.finding("overlap", shares=shares, kept=max(len(tokens) for tokens in frequent.values()))


def places(beside: Sequence[Comparison]) -> dict[str, list[dict[str, Any]]]:
    """By verdict, where the method was not better: pairs, with their settings; none if the verdicts are all the same.

    Settings are None where nothing else is fixed, and empty for all settings of a pair.
    """
    if len({one.verdict for one in beside}) < 2:
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    for verdict in ("worse", "no difference found"):
        for pair in dict.fromkeys(one.pair for one in beside):
            of_pair = [one for one in beside if one.pair == pair]
            settings = [one.setting for one in of_pair if one.verdict == verdict]
            if settings:
                at = None if settings[0] is None else [] if len(settings) == len(of_pair) else settings
                found.setdefault(verdict, []).append({"pair": pair, "settings": at})
    return found


def masking_facts(beside: Sequence[Comparison]) -> dict[str, Any]:
    """Verdicts, and what both masks cost and hide on average."""
    columns = ("probability_change", "masked_fraction", "masked_brightness")
    return {
        "verdicts": tally(one.verdict for one in beside),
        "mine": {column: mean(one.method[column] for one in beside) for column in columns},
        "theirs": {column: mean(one.baseline[column] for one in beside) for column in columns},
    }


def _gains(beside: Sequence[Comparison]) -> tuple[float, float] | None:
    """How far both methods raise the target's probability on average."""
    if not beside:
        return None
    return mean(gain(one.method) for one in beside), mean(gain(one.baseline) for one in beside)


def _least_k(rows: Rows) -> list[tuple[str, int, list[Row]]]:
    """Splits, each with its smallest k and the rows of it."""
    found = []
    for split in distinct(rows, "split"):
        k = min(row["k"] for row in select(rows, split=split))
        found.append((split, k, select(rows, split=split, k=k)))
    return found

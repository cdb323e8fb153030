"""What the metrics and comparisons say, in sentences: the losses named like the wins."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]

HARDLY = 0.05  # a probability that changes by less hardly moves
MOST = 0.75  # of an image: masks that hide more leave little to judge by


@dataclass(frozen=True)
class Finding:
    """What a metric says.

    Args:
        headline: the count that matters, wins and losses in one.
        details: where it was lost, and what else keeps it from being misread.
    """

    headline: str
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Contest:
    """A method beside its baseline in one setting.

    Args:
        pair: extractor and judge.
        setting: what else is fixed, such as n; None where nothing is.
        verdict: better, worse or "no difference found", as the comparisons say.
        method, baseline: their rows of the metrics.
    """

    pair: tuple[str, str]
    setting: int | None
    verdict: str
    method: Row
    baseline: Row


def contests(comparisons: Rows, rows: Rows, level: str, baseline: str, setting: str | None = None) -> list[Contest]:
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
    for row in comparisons:
        if (row["level"], row["baseline"], row["label"]) == (level, baseline, None):
            pair, value = (row["extractor"], row["judge"]), row["setting"]
            other = at.get((*pair, baseline, value)) or at[(*pair, baseline, None)]
            found.append(Contest(pair, value, row["verdict"], at[(*pair, row["method"], value)], other))
    return found


def gain(row: Row) -> float:
    """Change of the target's probability by the codebook search."""
    return float(row["target_probability_after"] - row["target_probability_before"])


def extractor_findings(rows: Rows, classes: int) -> list[Finding]:
    """Extractor accuracy: the best and the worst extractor, beside guessing."""
    found = []
    for split in dict.fromkeys(row["split"] for row in rows):
        k = min(row["k"] for row in rows if row["split"] == split)
        of_split = [row for row in rows if row["split"] == split and row["k"] == k]
        ranked = sorted(of_split, key=lambda row: -row["accuracy"])
        best, worst, guessing = ranked[0], ranked[-1], k / classes
        headline = (
            f"From the tokens of {best['samples']:,} {split} images, {best['extractor']} reads the class with "
            f"top-{k} accuracy {percent(best['accuracy'])}"
        )
        if worst is not best:
            headline += f"; the weakest of {len(ranked)} extractors, {worst['extractor']}, {percent(worst['accuracy'])}"
        headline += f". Guessing among {classes} classes is right in {percent(guessing)}."
        at_chance = [row["extractor"] for row in ranked if row["accuracy"] <= guessing]
        details = [f"No better than guessing, so not to be trusted below: {listed(at_chance)}."] if at_chance else []
        found.append(Finding(headline, details))
    return found


def judge_findings(rows: Rows) -> list[Finding]:
    """Judge accuracy: whether the judges read in the generated images what the generator was asked for."""
    found = []
    for split in dict.fromkeys(row["split"] for row in rows):
        k = min(row["k"] for row in rows if row["split"] == split)
        of_split = [row for row in rows if row["split"] == split and row["k"] == k]
        read = [f"{row['judge']} {percent(row['accuracy'])}" for row in of_split]
        found.append(
            Finding(
                f"Of the {of_split[0]['samples']:,} generated {split} images, the judges read as the class that the "
                f"generator was asked for: {listed(read)} (top-{k})."
            )
        )
    return found


def image_level_findings(rows: Rows, comparisons: Rows) -> list[Finding]:
    """Image level: whether masking important tokens costs more probability than each of the random masks."""
    found = []
    for baseline, what in (
        ("random", "random tokens"),
        ("random_area", "as many random positions"),
        ("random_brightness", "random positions that hide as much brightness"),
    ):
        if met := contests(comparisons, rows, "image_level", baseline, "n"):
            headline = (
                f"Masking important tokens, against {what}: {score(met)} combinations of extractor, judge and n. "
                f"{masked(met)}."
            )
            hidden, other_hidden = average(met, "masked_brightness")
            if baseline == "random_area" and hidden < other_hidden:
                headline += (
                    " So at equal area, important tokens hide less of what is drawn: a position can matter because "
                    "nothing is drawn there, and black painted on black changes nothing."
                )
            found.append(Finding(headline, where(met, "n")))
    important = [row for row in rows if row["method"] == "importance"]
    raised = sum(row["probability_change"] >= 0 for row in important)
    if found and raised:
        found[-1].details.append(
            f"In {raised} of {len(important)} combinations, masking important tokens does not lower the label's "
            "probability at all."
        )
    return found


def concept_level_findings(rows: Rows, comparisons: Rows) -> list[Finding]:
    """Concept level: whether concept-level tokens cost more probability than frequent ones, and at what area."""
    met = contests(comparisons, rows, "concept_level", "frequency", "top_n")
    if not met:
        return []
    headline = (
        "Masking a class's concept-level tokens, against its most frequent tokens: "
        f"{score(met)} combinations of extractor, judge and top_n. {masked(met)}."
    )
    if min(average(met, "masked_fraction")) > MOST:
        headline += " On average both hide most of the image: little is left to tell them apart by."
    return [Finding(headline, where(met, "top_n"))]


def codebook_level_findings(rows: Rows, comparisons: Rows) -> list[Finding]:
    """Codebook level: whether token selection raises the target's probability more than embedding optimisation."""
    met = contests(comparisons, rows, "codebook_level", "embedding")
    if not met:
        return []
    headline = (
        f"Selecting tokens, against optimising embeddings: {score(met)} pairs of extractor and judge. {rises(met)}."
    )
    details = where(met, None)
    idle = [contest for contest in met if abs(gain(contest.baseline)) < HARDLY]
    rest = [contest for contest in met if contest not in idle]
    if idle:
        details.append(
            f"At this run's learning rate, optimising embeddings hardly moves the probability (less than {HARDLY:g}) "
            f"for {listed([pair_name(contest.pair) for contest in idle])}: little to be better than."
            + (f" {rises(rest, 'Without them, it changes')}." if rest else "")
        )
    if not_raised := [pair_name(contest.pair) for contest in met if gain(contest.method) <= 0]:
        details.append(f"Selecting tokens does not raise it at all for {'; '.join(not_raised)}.")
    return [Finding(headline, details)]


def overlap_finding(lists: Mapping[str, Mapping[int, list[int]]], frequent: Mapping[int, list[int]]) -> Finding:
    """How many of the concept-level tokens are also among the class's most frequent ones.

    Args:
        lists: by extractor and label, the concept-level tokens.
        frequent: by label, the most frequent tokens.
    """
    shares = []
    for name, of_label in lists.items():
        common = (len(set(tokens) & set(frequent.get(label, ()))) / len(tokens) for label, tokens in of_label.items())
        shares.append(f"{percent(mean(common))} of {name}'s")
    kept = max(len(tokens) for tokens in frequent.values())
    return Finding(
        f"On average over classes, {listed(shares)} concept-level tokens are also among the {kept} tokens that are "
        "most frequent in the class."
    )


def where(met: Sequence[Contest], setting: str | None) -> list[str]:
    """Sentences that say where the method was worse, and where no difference was found; none if it was all the same."""
    if len({contest.verdict for contest in met}) < 2:
        return []
    sentences = []
    for verdict in ("worse", "no difference found"):
        places = []
        for pair in dict.fromkeys(contest.pair for contest in met):
            of_pair = [contest for contest in met if contest.pair == pair]
            values = [str(contest.setting) for contest in of_pair if contest.verdict == verdict]
            if values and setting is None:
                places.append(pair_name(pair))
            elif values:
                at = f"any {setting}" if len(values) == len(of_pair) else f"{setting} = {', '.join(values)}"
                places.append(f"{pair_name(pair)} at {at}")
        if places:
            sentences.append(f"{verdict.capitalize()}: {'; '.join(places)}.")
    return sentences


def score(met: Sequence[Contest]) -> str:
    """How often the method was better and worse, like "better in 3 of 4", or "better in 1, worse in 2 of 3"."""
    counts = Counter(contest.verdict for contest in met)
    parts = [f"{name} in {counts[name]}" for name in ("better", "worse", "no difference found") if counts[name]]
    if len(parts) == 1:
        (verdict,) = counts
        return f"{verdict} in all {len(met)}"
    return f"{', '.join(parts)} of {len(met)}"


def masked(met: Sequence[Contest]) -> str:
    """What both masks cost and hide on average."""
    (cost, other_cost), (area, other_area), (hidden, other_hidden) = (
        average(met, column) for column in ("probability_change", "masked_fraction", "masked_brightness")
    )
    return (
        f"On average, the label's probability changes by {change(cost)}, with {percent(area)} of the area and "
        f"{percent(hidden)} of the brightness masked, against {change(other_cost)}, with {percent(other_area)} and "
        f"{percent(other_hidden)}"
    )


def rises(met: Sequence[Contest], start: str = "On average, the target's probability changes") -> str:
    """How far both methods raise the target's probability on average."""
    mine, theirs = (mean(gain(getattr(contest, which)) for contest in met) for which in ("method", "baseline"))
    return f"{start} by {change(mine)}, against {change(theirs)}"


def average(met: Sequence[Contest], column: str) -> tuple[float, float]:
    """Means over the contests of a column of the method's rows and of the baseline's."""
    return mean(contest.method[column] for contest in met), mean(contest.baseline[column] for contest in met)


def pair_name(pair: tuple[str, str]) -> str:
    """Extractor and judge in words."""
    return f"{pair[0]} with judge {pair[1]}"


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean."""
    found = list(values)
    return sum(found) / len(found)


def percent(share: float) -> str:
    """A share like "93.1 %"."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%"


def change(value: float) -> str:
    """A change of a probability with its sign, three decimals, or one digit where those are zero."""
    text = f"{value:+.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:+.0e}"
    return text.replace("-", "−")


def listed(words: Sequence[str]) -> str:
    """Words as in a sentence: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

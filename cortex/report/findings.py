"""What the metrics say, in sentences: counted and averaged from the tables, the losses named like the wins."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]
Rows = Sequence[Row]


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
    """One measure of a method beside that of its baseline, in one setting.

    Args:
        pair: extractor and judge.
        setting: what else is fixed, such as n; None where nothing is.
        method, baseline: their rows of the metrics.
        won: the method did strictly better.
    """

    pair: tuple[str, str]
    setting: int | None
    method: Row
    baseline: Row
    won: bool


def contests(
    rows: Rows, method: str, baseline: str, setting: str | None, better: Callable[[Row, Row], bool]
) -> list[Contest]:
    """A method's rows beside its baseline's of the same extractor and judge.

    Args:
        rows: of a metrics table.
        method, baseline: values of the column ``method``.
        setting: a column that tells the method's rows of one pair apart. A baseline that is null there serves all.
        better: whether the first row is strictly better than the second.
    """

    def place(row: Row, value: Any) -> tuple[Any, ...]:
        return row["extractor"], row["judge"], value

    baselines = {place(row, row[setting] if setting else None): row for row in rows if row["method"] == baseline}
    found = []
    for row in rows:
        if row["method"] == method:
            value = row[setting] if setting else None
            other = baselines.get(place(row, value)) or baselines.get(place(row, None))
            if other is not None:
                found.append(Contest((row["extractor"], row["judge"]), value, row, other, better(row, other)))
    return found


def lowers_more(row: Row, other: Row) -> bool:
    """Whether the label's probability falls further."""
    return bool(row["probability_change"] < other["probability_change"])


def gain(row: Row) -> float:
    """Change of the target's probability by the codebook search."""
    return float(row["target_probability_after"] - row["target_probability_before"])


def raises_more(row: Row, other: Row) -> bool:
    """Whether the target's probability rises further."""
    return gain(row) > gain(other)


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


def image_level_findings(rows: Rows) -> list[Finding]:
    """Image level: how often masking important tokens costs more probability than each of the random masks."""
    found = []
    for baseline, what in (("random", "random tokens"), ("random_area", "the same area at random positions")):
        met = contests(rows, "importance", baseline, "n", lowers_more)
        if met:
            headline = (
                f"Masking important tokens lowers the label's probability more than masking {what} "
                f"in {score(met)} combinations of extractor, judge and n "
                f"(mean change {change(mean(c.method['probability_change'] for c in met))} "
                f"against {change(mean(c.baseline['probability_change'] for c in met))})."
            )
            found.append(Finding(headline, losses(met, "n")))
    important = [row for row in rows if row["method"] == "importance"]
    raised = sum(row["probability_change"] >= 0 for row in important)
    if found and raised:
        found[-1].details.append(
            f"In {raised} of {len(important)} combinations, masking important tokens does not lower the label's "
            "probability at all."
        )
    return found


def concept_level_findings(rows: Rows) -> list[Finding]:
    """Concept level: how often concept-level tokens cost more probability than frequent ones, and at what area."""
    met = contests(rows, "importance", "frequency", "top_n", lowers_more)
    if not met:
        return []
    headline = (
        f"Masking a class's concept-level tokens lowers the label's probability more than masking its most frequent "
        f"tokens in {score(met)} combinations of extractor, judge and top_n "
        f"(mean change {change(mean(c.method['probability_change'] for c in met))} "
        f"with {percent(mean(c.method['masked_fraction'] for c in met))} of the image masked, "
        f"against {change(mean(c.baseline['probability_change'] for c in met))} "
        f"with {percent(mean(c.baseline['masked_fraction'] for c in met))})."
    )
    won = [contest for contest in met if contest.won]
    fair = sum(contest.method["masked_fraction"] <= contest.baseline["masked_fraction"] for contest in won)
    details = losses(met, "top_n")
    if won:
        details.append(f"Of the {len(won)} won, {fair or 'none'} masked no more of the image than the baseline did.")
    return [Finding(headline, details)]


def codebook_level_findings(rows: Rows) -> list[Finding]:
    """Codebook level: how often token selection raises the target's probability more than embedding optimisation."""
    met = contests(rows, "token_selection", "embedding", None, raises_more)
    if not met:
        return []
    headline = (
        f"Selecting tokens raises the target's probability more than optimising embeddings in {score(met)} pairs of "
        f"extractor and judge (mean change {change(mean(gain(c.method) for c in met))} "
        f"against {change(mean(gain(c.baseline) for c in met))})."
    )
    details = losses(met, None)
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


def losses(met: Sequence[Contest], setting: str | None) -> list[str]:
    """A sentence that says where the method did not win; none if it always or never did."""
    if len({contest.won for contest in met}) < 2:
        return []
    places = []
    for pair in dict.fromkeys(contest.pair for contest in met):
        of_pair = [contest for contest in met if contest.pair == pair]
        lost = [str(contest.setting) for contest in of_pair if not contest.won]
        if lost and setting is None:
            places.append(pair_name(pair))
        elif lost:
            values = f"any {setting}" if len(lost) == len(of_pair) else f"{setting} = {', '.join(lost)}"
            places.append(f"{pair_name(pair)} at {values}")
    return [f"It does not for {'; '.join(places)}."]


def score(met: Sequence[Contest]) -> str:
    """Wins of a method, like "3 of 4", "all 4", "none of 4"."""
    won = sum(contest.won for contest in met)
    return f"all {won}" if won == len(met) else f"{won or 'none'} of {len(met)}"


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

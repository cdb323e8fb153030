"""Bias: reported against true lean, and what neutral images lean to (METHOD.md, section 7)."""

from collections import Counter
from dataclasses import dataclass

from cortex.report.findings import Finding, Row, Rows, listed, mean
from cortex.report.tabular import Cell, Table, groups
from cortex.report.topic import Topic

RIGHT, WRONG, NONE = "to the right group", "to the wrong one", "to none"


@dataclass(frozen=True)
class Scale:
    """A figure that says how far images lean.

    Args:
        column, low, high: its columns.
        none: its value where images lean to neither group.
    """

    column: str
    low: str
    high: str
    none: float

    def group(self, row: Row) -> int | None:
        """1: leans to the first group; -1: to the second; 0: to none, its interval says; None: it says nothing."""
        if row[self.column] is None:
            return None
        return (row[self.low] > self.none) - (row[self.high] < self.none)


DELTA = Scale("delta", "low", "high", 0.0)
SHARE = Scale("share", "share_low", "share_high", 0.5)


def section(rows: Rows) -> Topic:
    """The section of the rows of metrics/bias.parquet."""
    known = [row for row in rows if row["neutral"] == "mixture"]
    unknown = [row for row in rows if row["true_share"] is None]
    tables = [
        (
            "Published: Cliff's delta, by the true share of the first group",
            "Between the counts of the first group's tokens and of the second's in every image; above 0: more of the "
            "first's. In brackets, the 95 % interval (bootstrap over images). Shares 1 and 0 are the groups' own "
            "held-out images.",
            _by_share(rows, DELTA),
        ),
        (
            "Calibrated: reported share of the first group, by the true share",
            "Where the mean difference of the two counts stands between those of the groups' own held-out images, 1 "
            "and 0 by definition. –: the tokens do not tell the held-out images apart. A pair's mixtures have images "
            "in common, and so errors.",
            _by_share(rows, SHARE),
        ),
    ]
    if unknown:
        note = "No true share is known: it is what was asked for."
        tables.insert(0, ("Neutral images", note, _neutral(unknown)))
    published = _recovered(known, DELTA, "published delta")[::-1]  # of concept tokens first, as it was published
    return Topic(
        title="Bias: do neutral images lean to one of two groups?",
        link="Bias",
        lead=(
            "An extractor learns to tell two groups apart, and every image of a neutral set is asked at how many "
            "positions it holds tokens that were important for the one and for the other. Mixtures of the groups' test "
            "images, whose lean is known, show whether the answer can be trusted. Concept tokens are those of a group "
            "that are most often important, as published; contrast tokens those more often than in the other group."
        ),
        findings=[*_leans(unknown), *published[:1], *_recovered(known, SHARE, "share"), *published[1:]],
        tables=tables,
    )


def _recovered(rows: Rows, scale: Scale, name: str) -> list[Finding]:
    """How often a figure says of mixtures what is true of them, by list of tokens."""
    found = []
    for (method,), of_method in reversed(groups(rows, "method").items()):
        told = [row for row in of_method if scale.group(row) is not None]
        leaning = [row for row in told if row["true_share"] != 0.5]
        even = [row for row in told if row["true_share"] == 0.5]
        parts = []
        if leaning:
            verdicts = Counter(_verdict(scale.group(row), row) for row in leaning)
            counts = [f"{verdicts[verdict]} {verdict}" for verdict in (RIGHT, WRONG, NONE) if verdicts[verdict]]
            parts.append(f"of {len(leaning)} mixtures that lean, {listed(counts)}")
        if even:
            none = sum(scale.group(row) == 0 for row in even)
            parts.append(f"of {len(even)} even ones, {none} to none")
        headline = f"Mixtures lean, as the {name} of {method} tokens says: {'; '.join(parts)}."
        if not told:
            headline = f"The {name} of {method} tokens says nothing of any mixture."
        found.append(Finding(headline, _details(of_method, told, scale)))
    return found


def _details(rows: Rows, told: Rows, scale: Scale) -> list[str]:
    """Where a figure goes wrong, and how far it is off."""
    details = []
    if scale is SHARE and told:
        held = sum(row["share_low"] <= row["true_share"] <= row["share_high"] for row in told)
        error = mean(abs(row["share"] - row["true_share"]) for row in told)
        details.append(
            f"Its interval holds the true share in {held} of {len(told)}; on average, it is off by {error:.2f}."
        )
    if len(told) < len(rows):
        silent = list(dict.fromkeys(_pair(row) for row in rows if row not in told))
        details.append(f"Nothing can be said of {listed(silent)}: the tokens do not tell their held-out images apart.")
    wrong = {_pair(row) for row in told if scale.group(row) not in (0, _truth(row))}
    if wrong:
        details.append(f"A lean that is not there, or to the wrong group: {listed(sorted(wrong))}.")
    if scale is DELTA and (common := mean(row["common_tokens"] for row in rows)) > 0:
        details.append(f"On average, {common:.1f} tokens are in both groups' lists, and count for both.")
    if scale is DELTA and wrong:
        details.append(
            "Tokens of one group can be the more frequent in every image; then delta tells that, and not the lean."
        )
    return details


def _leans(rows: Rows) -> list[Finding]:
    """What the neutral sets lean to, whose share nobody knows."""
    found = []
    for (first, second), of_pair in groups(rows, "first_name", "second_name").items():
        said = []
        for row in of_pair:
            words = {1: f"leans to {first}", -1: f"leans to {second}", 0: "no lean found", None: "nothing can be said"}
            share = f", {_interval(row, SHARE)}" if row["share"] is not None else ""
            said.append(f"by the share of {row['method']} tokens, {words[SHARE.group(row)]}{share}")
            said.append(f"by their published delta, {words[DELTA.group(row)]}, {_interval(row, DELTA)}")
        name, images = of_pair[0]["neutral"], of_pair[0]["images"]
        rest = "; ".join(said[1:])
        found.append(
            Finding(f"{first} or {second}, {images:,} images of {name}: {said[0]}.", [f"{rest[0].upper()}{rest[1:]}."])
        )
    return found


def _truth(row: Row) -> int:
    return int((row["true_share"] > 0.5) - (row["true_share"] < 0.5))


def _verdict(group: int | None, row: Row) -> str:
    return NONE if group == 0 else RIGHT if group == _truth(row) else WRONG


def _by_share(rows: Rows, scale: Scale) -> Table:
    """A pair and list of tokens a row, true shares in columns."""
    rows = [row for row in rows if row["true_share"] is not None]
    shares = sorted({row["true_share"] for row in rows})
    table = Table(["groups", "tokens", *(f"{share:g}" for share in shares)], 2)
    for (_, _, method), of_pair in groups(rows, "first", "second", "method").items():
        at = {row["true_share"]: row for row in of_pair}
        cells = [_cell(at[share], scale) if share in at else Cell("–") for share in shares]
        table.rows.append([Cell(_pair(of_pair[0])), Cell(method), *cells])
    return table


def _neutral(rows: Rows) -> Table:
    table = Table(["groups", "tokens", "neutral", "images", "delta", "p", "share of the first"], 3)
    for row in rows:
        p = f"{row['p']:.3f}" if row["p"] >= 0.0005 else f"{row['p']:.0e}".replace("-", "−")
        cells = [Cell(f"{row['images']:,}", row["images"]), _cell(row, DELTA), Cell(p, row["p"]), _cell(row, SHARE)]
        table.rows.append([Cell(_pair(row)), Cell(row["method"]), Cell(row["neutral"]), *cells])
    return table


def _cell(row: Row, scale: Scale) -> Cell:
    return Cell("–") if row[scale.column] is None else Cell(_interval(row, scale), row[scale.column])


def _interval(row: Row, scale: Scale) -> str:
    numbers = (f"{row[name]:.2f}".replace("-", "−") for name in (scale.column, scale.low, scale.high))
    return "{} [{}, {}]".format(*numbers)


def _pair(row: Row) -> str:
    return f"{row['first_name']} and {row['second_name']}"

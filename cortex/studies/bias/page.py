"""Bias: reported against true lean, and what neutral images lean to (METHOD.md, section 7)."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, groups, mean, select
from cortex.report.tables import Cell, Table
from cortex.report.topic import Finding, Topic
from cortex.report.words import decimal

PROSE = Prose(Path(__file__).with_name("page.j2"))
RIGHT, WRONG, NONE = "right", "wrong", "none"
GROUPS = {1: "first", -1: "second", 0: NONE, None: "unknown"}


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
    known, unknown = select(rows, neutral="mixture"), select(rows, true_share=None)
    published = recovered(known, DELTA)[::-1]  # of the list count first, as it was published
    tables = [PROSE.table("neutral", _neutral(unknown))] if unknown else []
    tables += [
        PROSE.table("published", _by_share(rows, DELTA)),
        PROSE.table("calibrated", _by_share(rows, SHARE)),
    ]
    return PROSE.topic(
        findings=[*leans(unknown), *published[:1], *recovered(known, SHARE), *published[1:]], tables=tables
    )


def recovered(rows: Rows, scale: Scale) -> list[Finding]:
    """How often a figure says of mixtures what is true of them, by list of tokens."""
    found = []
    for (kind,), of_kind in reversed(groups(rows, "list").items()):
        told = [row for row in of_kind if scale.group(row) is not None]
        leaning = [row for row in told if row["true_share"] != 0.5]
        even = select(told, true_share=0.5)
        verdicts = Counter(_verdict(scale.group(row), row) for row in leaning)
        facts: dict[str, Any] = {
            "verdicts": {verdict: verdicts[verdict] for verdict in (RIGHT, WRONG, NONE) if verdicts[verdict]},
            "leaning": len(leaning),
            "even": len(even),
            "even_right": sum(scale.group(row) == 0 for row in even),
            "silent": list(dict.fromkeys(_pair(row) for row in of_kind if row not in told)),
            "wrong": sorted({_pair(row) for row in told if scale.group(row) not in (0, _truth(row))}),
        }
        if scale is SHARE:
            held = [row["share_low"] <= row["true_share"] <= row["share_high"] for row in told]
            facts["held"] = sum(held)
            facts["error"] = mean(abs(row["share"] - row["true_share"]) for row in told) if told else None
        else:
            facts["common"] = mean(row["common_tokens"] for row in of_kind)
        found.append(PROSE.finding(scale.column, kind=kind, told=len(told), **facts))
    return found


def leans(rows: Rows) -> list[Finding]:
    """What the neutral sets lean to, whose share nobody knows."""
    found = []
    for (first, second), of_pair in groups(rows, "first_name", "second_name").items():
        said = [
            {
                "kind": row["list"],
                "share": {"group": GROUPS[SHARE.group(row)], "value": _text(row, SHARE)},
                "delta": {"group": GROUPS[DELTA.group(row)], "value": _text(row, DELTA)},
            }
            for row in of_pair
        ]
        name, images = of_pair[0]["neutral"], of_pair[0]["images"]
        found.append(PROSE.finding("leans", first=first, second=second, name=name, images=images, said=said))
    return found


def _truth(row: Row) -> int:
    return int((row["true_share"] > 0.5) - (row["true_share"] < 0.5))


def _verdict(group: int | None, row: Row) -> str:
    return NONE if group == 0 else RIGHT if group == _truth(row) else WRONG


def _by_share(rows: Rows, scale: Scale) -> Table:
    """A pair and list of tokens a row, true shares in columns."""
    rows = [row for row in rows if row["true_share"] is not None]
    shares = sorted({row["true_share"] for row in rows})
    table = Table(["groups", "list", *(f"{share:g}" for share in shares)], 2)
    for (_, _, kind), of_pair in groups(rows, "first", "second", "list").items():
        at = {row["true_share"]: row for row in of_pair}
        cells = [_cell(at[share], scale) if share in at else Cell("–") for share in shares]
        table.rows.append([Cell(_pair(of_pair[0])), Cell(kind), *cells])
    return table


def _neutral(rows: Rows) -> Table:
    table = Table(["groups", "list", "neutral", "images", "delta", "p", "share of the first"], 3)
    for row in rows:
        p = f"{row['p']:.3f}" if row["p"] >= 0.0005 else f"{row['p']:.0e}".replace("-", "−")
        cells = [Cell(f"{row['images']:,}", row["images"]), _cell(row, DELTA), Cell(p, row["p"]), _cell(row, SHARE)]
        table.rows.append([Cell(_pair(row)), Cell(row["list"]), Cell(row["neutral"]), *cells])
    return table


def _cell(row: Row, scale: Scale) -> Cell:
    return Cell(_text(row, scale), row[scale.column])


def _text(row: Row, scale: Scale) -> str:
    """The figure with its interval; a dash where it says nothing."""
    if row[scale.column] is None:
        return "–"
    value, low, high = (decimal(row[name]) for name in (scale.column, scale.low, scale.high))
    return f"{value} [{low}, {high}]"


def _pair(row: Row) -> str:
    return f"{row['first_name']} and {row['second_name']}"

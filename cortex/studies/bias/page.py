"""Bias: reported against true lean, and what neutral images lean to (METHOD.md, section 7)."""

import inspect
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, distinct, groups, mean, select
from cortex.report.tables import Cell, Table
from cortex.report.topic import Finding, Topic
from cortex.report.words import decimal
from cortex.studies.bias.settings import PROPERTIES

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


def section(rows: Rows, property_name: str | None = None) -> Topic:
    """The section of the rows of metrics/bias.parquet.

    Args:
        rows: its rows.
        property_name: the setting studies.bias.property.
    """
    overall = select(rows, label=None)
    known, unknown = select(overall, set="mixture"), select(rows, true_share=None)
    published = recovered(known, DELTA)[::-1]  # of the list count first, as it was published
    by_property = rows[0]["property_share"] is not None
    tables = []
    if by_property:
        tables.append(PROSE.table("by_class", class_table(rows), **_property_words(rows)))
    elif unknown:
        tables.append(PROSE.table("neutral", neutral_table(unknown)))
    tables += [
        PROSE.table("published", _by_share(overall, DELTA)),
        PROSE.table("calibrated", _by_share(overall, SHARE)),
    ]
    leaning = class_leans(rows) if by_property else leans(unknown)
    told = [told_apart(rows)]
    findings = [*leaning, *published[:1], *recovered(known, SHARE), *published[1:]]
    return PROSE.topic(
        [*told, *findings] if any(map(_at_chance, rows)) else [*findings, *told],
        tables,
        property=_property_words(rows) if by_property else None,
        meaning=meaning(property_name) if by_property and property_name else "",
    )


def meaning(name: str) -> str:
    """What a property of pictures is, by the first paragraph of its function's docstring; empty where it has none."""
    return (inspect.getdoc(PROPERTIES.load(name)) or "").partition("\n\n")[0]


def told_apart(rows: Rows) -> Finding:
    """Whether the extractors tell the groups apart, without which no other result is valid."""
    of_groups = [found[0] for found in groups(rows, "groups").values()]
    accuracies = {_pair(row): row["accuracy"] for row in of_groups}
    at_chance = [_pair(row) for row in of_groups if _at_chance(row)]
    return PROSE.finding("told_apart", accuracies=accuracies, at_chance=at_chance)


def _at_chance(row: Row) -> bool:
    return bool(row["accuracy_low"] <= 0.5)


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
    """What the neutral sets beside pairs of classes lean to, whose share nobody knows."""
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
        name, images = of_pair[0]["class_name"], of_pair[0]["images"]
        found.append(PROSE.finding("leans", first=first, second=second, name=name, images=images, said=said))
    return found


def class_leans(rows: Rows) -> list[Finding]:
    """What the share says of every class's neutral images, and whether their measured property agrees."""
    found = []
    for (kind,), of_kind in reversed(groups(rows, "list").items()):
        classes = [row for row in select(of_kind, set="neutral") if row["label"] is not None]
        told = [row for row in classes if row["share"] is not None]
        facts: dict[str, Any] = {"classes": len(classes), "told": len(told)}
        if told:
            facts["above"] = [_beside_property(row) for row in told if row["share_low"] > row["property_share"]]
            facts["below"] = [_beside_property(row) for row in told if row["share_high"] < row["property_share"]]
            facts["agreement"] = _rank_correlation(told)
            facts["mixed_up"] = [row["class_name"] for row in told if not _tells_apart(of_kind, row["label"])]
            for group in ("first", "second"):
                facts[f"to_{group}"] = [row["class_name"] for row in told if GROUPS[SHARE.group(row)] == group]
        found.append(PROSE.finding("classes", kind=kind, **facts, **_property_words(rows)))
    return found


def _tells_apart(rows: Rows, label: int) -> bool:
    """Whether the share of a class's test images of the first group is higher than of the second, intervals apart."""
    (first,), (second,) = select(rows, label=label, true_share=1.0), select(rows, label=label, true_share=0.0)
    return bool(first["share_low"] > second["share_high"])


def _rank_correlation(rows: Rows) -> float | None:
    """Spearman's, of the share and the property's share over classes; None of fewer than three."""
    columns = [[row[name] for row in rows] for name in ("share", "property_share")]
    if len(rows) < 3 or any(len(set(column)) == 1 for column in columns):
        return None
    return float(stats.spearmanr(*columns).statistic)


def _property_words(rows: Rows) -> dict[str, str]:
    return {"name": rows[0]["groups"], "first": rows[0]["first_name"], "second": rows[0]["second_name"]}


def _beside_property(row: Row) -> str:
    return f"{row['class_name']} {_text(row, SHARE)}, measured {decimal(row['property_share'])}"


def _truth(row: Row) -> int:
    return int((row["true_share"] > 0.5) - (row["true_share"] < 0.5))


def _verdict(group: int | None, row: Row) -> str:
    return NONE if group == 0 else RIGHT if group == _truth(row) else WRONG


def _by_share(rows: Rows, scale: Scale) -> Table:
    """Two groups and a list of tokens a row, true shares in columns."""
    rows = [row for row in rows if row["true_share"] is not None]
    shares = sorted({row["true_share"] for row in rows})
    table = Table(["groups", "list", *(f"{share:g}" for share in shares)], 2)
    for (_, kind), of_groups in groups(rows, "groups", "list").items():
        at = {row["true_share"]: row for row in of_groups}
        cells = [_cell(at[share], scale) if share in at else Cell("–") for share in shares]
        table.rows.append([Cell(_pair(of_groups[0])), Cell(kind), *cells])
    return table


def neutral_table(rows: Rows) -> Table:
    """A pair of classes and a list of tokens a row."""
    table = Table(["groups", "list", "neutral", "images", "delta", "p", "share of the first"], 3)
    for row in rows:
        p = f"{row['p']:.3f}" if row["p"] >= 0.0005 else f"{row['p']:.0e}".replace("-", "−")
        cells = [Cell(f"{row['images']:,}", row["images"]), _cell(row, DELTA), Cell(p, row["p"]), _cell(row, SHARE)]
        table.rows.append([Cell(_pair(row)), Cell(row["list"]), Cell(row["class_name"]), *cells])
    return table


def class_table(rows: Rows) -> Table:
    """A class and a list of tokens a row: its neutral images, and beside them its test images of both groups."""
    _, first, second = _property_words(rows).values()
    columns = ["class", "list", "neutral images", "delta", "share", "share measured", f"share, {second}"]
    table = Table([*columns, f"share, {first}"], 2)
    for label in distinct(select(rows, set="neutral"), "label"):
        for (kind,), of_class in groups(select(rows, label=label), "list").items():
            (row,) = select(of_class, set="neutral")
            # Of all classes together, the held-out images are the ends of the scale, and no measurement.
            ends = [select(of_class, set="mixture", true_share=share) if label is not None else [] for share in (0, 1)]
            cells = [
                Cell(f"{row['images']:,}", row["images"]),
                _cell(row, DELTA),
                _cell(row, SHARE),
                Cell(decimal(row["property_share"]), row["property_share"]),
                *(_cell(found[0], SHARE) if found else Cell("–") for found in ends),
            ]
            table.rows.append([Cell(row["class_name"] or "all classes"), Cell(kind), *cells])
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

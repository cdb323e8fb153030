"""Combinations: what are tokens worth together?"""

from pathlib import Path
from typing import Any

from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, distinct, groups, select
from cortex.report.tables import Cell, Table, estimate, number
from cortex.report.topic import Finding, Topic

PROSE = Prose(Path(__file__).with_name("page.j2"))
COSTS = ("together", "alone", "interaction", "beyond_random")
Costs = dict[tuple[str, str, str, int], Row]  # by extractor, measure, method and n


def section(rows: Rows) -> Topic:
    """The section of what removing tokens costs."""
    ranked = select(rows, measure="correlation")
    costs: Costs = {
        (row["extractor"], row["measure"], row["method"], row["n"]): row for row in rows if row["n"] is not None
    }
    return PROSE.topic(
        images=rows[0]["images"],
        findings=[agreement(ranked), removal(costs), interaction(costs)],
        tables=[PROSE.table("costs", cost_table(costs)), PROSE.table("ranks", rank_table(ranked))],
    )


def agreement(rows: Rows) -> Finding:
    """How far the importance ranks positions as their Shapley values do."""
    important = select(rows, method="importance")
    return PROSE.finding(
        "agreement",
        **{method: select(rows, method=method) for method in ("importance", "shapley", "single")},
        unrelated=[row["extractor"] for row in important if row["low"] <= 0 <= row["high"]],
        negative=[row["extractor"] for row in important if row["high"] < 0],
    )


def removal(costs: Costs) -> Finding:
    """What removing the positions of highest importance costs, beside random and other ones, at the largest n."""
    n = max(n for *_, n in costs)
    beyond = {extractor: costs[extractor, "beyond_random", "importance", n] for extractor in _extractors(costs)}
    together: dict[str, dict[str, Row]] = {
        extractor: {method: costs[extractor, "together", method, n] for method in _methods(costs)}
        for extractor in beyond
    }
    return PROSE.finding(
        "removal",
        n=n,
        together=together,
        no_more=[extractor for extractor, row in beyond.items() if row["low"] <= 0 <= row["high"]],
        less=[extractor for extractor, row in beyond.items() if row["high"] < 0],
    )


def interaction(costs: Costs) -> Finding:
    """Where the positions of highest importance matter more, or less, together than one by one."""
    places: dict[str, list[dict[str, Any]]] = {"more": [], "less": [], "no difference found": []}
    for (extractor, measure, method, n), row in costs.items():
        if (measure, method) == ("interaction", "importance"):
            sort = "more" if row["low"] > 0 else "less" if row["high"] < 0 else "no difference found"
            places[sort].append({"extractor": extractor, "n": n, "row": row})
    return PROSE.finding("interaction", places={sort: found for sort, found in places.items() if found})


def cost_table(costs: Costs) -> Table:
    """An extractor, method and n a row, the costs in columns."""
    table = Table(["extractor", "method", "n", *(measure.replace("_", " ") for measure in COSTS)], 2)
    for extractor in _extractors(costs):
        for method in _methods(costs):
            for n in sorted({n for *_, n in costs}):
                cells = [estimate(costs.get((extractor, measure, method, n))) for measure in COSTS]
                table.rows.append([Cell(extractor), Cell(method), number(n), *cells])
    return table


def rank_table(rows: Rows) -> Table:
    """An extractor a row, what ranks the positions in columns."""
    methods = distinct(rows, "method")
    table = Table(["extractor", *methods], 1)
    for (extractor,), group in groups(rows, "extractor").items():
        at = {row["method"]: row for row in group}
        table.rows.append([Cell(extractor), *(estimate(at[method]) for method in methods)])
    return table


def _extractors(costs: Costs) -> list[str]:
    return list(dict.fromkeys(extractor for extractor, *_ in costs))


def _methods(costs: Costs) -> list[str]:
    return list(dict.fromkeys(method for _, _, method, _ in costs))

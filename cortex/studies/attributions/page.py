"""Other attributions beside tis: which finds best what the judges read?"""

from pathlib import Path
from typing import Any

from cortex.explain import TIS
from cortex.report.prose import Prose
from cortex.report.rows import VERDICTS, Row, Rows, distinct, groups, mean, select, tally
from cortex.report.tables import Cell, Table
from cortex.report.topic import Finding, Topic
from cortex.report.words import change

PROSE = Prose(Path(__file__).with_name("page.j2"))
RANDOM = "random"
AXES = ("n", "masked_fraction", "masked_brightness")  # of the masking curves
OPPOSITE = {"better": "worse", "worse": "better", "no difference found": "no difference found"}


def section(rows: Rows) -> Topic:
    """The section of the ranked attributions."""
    by_judge = groups(rows, "judge")
    together = by_judge.pop((None,))
    by_axis = groups(together, "curve_axis")
    each = [row for of_judge in by_judge.values() for row in of_judge]
    return PROSE.topic(
        images=rows[0]["samples"],
        methods=[method for method in distinct(rows, "method") if method != TIS],
        findings=[finding(by_axis[axis,], axis, by_axis["masked_fraction",]) for axis in AXES],
        tables=[
            PROSE.table("together", ranking(together, "extractor")),
            PROSE.table("each", ranking(each, "extractor", "judge")),
        ],
        answers={"reliability": on_own_images(by_axis["masked_fraction",])},
    )


def on_own_images(rows: Rows) -> str:
    """Which methods are better or worse than tis, and below random positions, on the run's own images.

    Args:
        rows: means over judges, of the areas under the curves over the masked share.
    """
    compared = [row for row in rows if row["verdict"] is not None]
    found = {verdict: _places(select(compared, verdict=verdict)) for verdict in ("better", "worse")}
    below_random: dict[str, dict[str, list[str]]] = {}
    for (extractor,), of_extractor in groups(rows, "extractor").items():
        below = [row["method"] for row in of_extractor if _below_random(row, rows)]
        above = [row["method"] for row in of_extractor if row["method"] not in (RANDOM, *below)]
        below_random |= {extractor: {"below": below, "above": above}} if below else {}
    return PROSE.text("on_own_images", **found, below_random=below_random)


def finding(rows: Rows, axis: str, by_area: Rows) -> Finding:
    """Where tis stands among the methods of every extractor, and which it is better and worse than.

    Args:
        rows: means over judges, of the areas under the curves over ``axis``.
        axis: of the curves.
        by_area: the rows over the masked share, with which the last axis is compared.
    """
    standings = []
    for (extractor,), of_extractor in groups(rows, "extractor").items():
        of_rank = {row["rank"]: row["method"] for row in of_extractor}
        place = next(rank for rank, method in of_rank.items() if method == TIS)
        standings.append({"extractor": extractor, "place": place, "methods": len(of_rank), "first": of_rank[1]})
    compared = [row for row in rows if row["verdict"] is not None]
    beside = {OPPOSITE[verdict]: select(compared, verdict=verdict) for verdict in VERDICTS}
    return PROSE.finding(
        "ranks",
        axis=axis,
        standings=standings,
        verdicts=tally(OPPOSITE[row["verdict"]] for row in compared),
        places={verdict: _places(beside[verdict]) for verdict in VERDICTS if beside[verdict]},
        below_random=_places([row for row in rows if _below_random(row, rows)]),
        leads=leads(by_area, rows) if axis == "masked_brightness" else None,
    )


def leads(by_area: Rows, by_brightness: Rows) -> dict[str, float] | None:
    """How far the first method is from random positions at equal brightness, beside how far at equal area."""
    if not select(by_area, method=RANDOM):
        return None
    found = []
    for rows in (by_area, by_brightness):
        chance = {row["extractor"]: row["auc"] for row in select(rows, method=RANDOM)}
        found.append(mean(chance[row["extractor"]] - row["auc"] for row in select(rows, rank=1)))
    return {"area": found[0], "brightness": found[1]}


def ranking(rows: Rows, *names: str) -> Table:
    """A method a row, in the order of rank by n: area, rank and verdict by the curve's axis."""
    columns = [text for axis in AXES for text in (f"by {PROSE.text('axis_name', axis=axis)}", "against tis")]
    table = Table([*names, "method", *columns], len(names) + 1)
    for place, group in groups(rows, *names).items():
        at = {(row["curve_axis"], row["method"]): row for row in group}
        for method in [row["method"] for row in select(group, curve_axis="n")]:
            cells = [Cell(str(name)) for name in (*place, method)]
            for axis in AXES:
                row = at[axis, method]
                interval = f"{change(row['auc_low'])} to {change(row['auc_high'])}"
                text = f"{change(row['auc'])}, rank {row['rank']} ({interval})"
                cells.append(Cell(text, row["auc"], row["rank"] == 1))
                cells.append(Cell(row["verdict"] or "–", best=row["verdict"] == "better"))
            table.rows.append(cells)
    return table


def _places(rows: Rows) -> list[dict[str, Any]]:
    """Methods with the extractors that they are meant of."""
    return [
        {"method": method, "extractors": [row["extractor"] for row in of_method]}
        for (method,), of_method in groups(rows, "method").items()
    ]


def _below_random(row: Row, rows: Rows) -> bool:
    random = select(rows, method=RANDOM, extractor=row["extractor"])
    return any(other["rank"] < row["rank"] for other in random)

"""Sanity: do the scores depend on what the extractors have learned?"""

from itertools import pairwise
from pathlib import Path

from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, groups
from cortex.report.tables import Cell, Table, estimate, number
from cortex.report.topic import Finding, Topic

PROSE = Prose(Path(__file__).with_name("page.j2"))
MEASURES = ("correlation", "own_correlation", "even_share")
QUARTER = 0.25  # of all positions have an even row and an even column
OFTEN = 0.5  # of the highest positions on that quarter

Known = dict[str, dict[tuple[str, int, str], Row]]  # by extractor; by test, step and measure
Places = dict[str, tuple[str, int]]  # by extractor, a test and its step


def section(rows: Rows) -> Topic:
    """The section of what scores are without knowledge."""
    at: Known = {
        extractor: {(row["test"], row["step"], row["measure"]): row for row in of_extractor}
        for (extractor,), of_extractor in groups(rows, "extractor").items()
    }
    tests: dict[str, Places] = {
        "randomised": {extractor: ("randomised", last_step(of)) for extractor, of in at.items()}
    }
    shuffled = [extractor for extractor, of in at.items() if ("shuffled", 0, "correlation") in of]
    if shuffled:
        tests["shuffled"] = dict.fromkeys(shuffled, ("shuffled", 0))
    n = next(row["n"] for row in rows if row["measure"] == "even_share")
    return PROSE.topic(
        images=rows[0]["images"],
        shuffled=shuffled,
        findings=[*(fall(at, places, test) for test, places in tests.items()), decisive(at), *strides(at, n)],
        tables=[PROSE.table("summary", summary(at, tests), n=n), PROSE.table("cascade", cascade(at), n=n)],
    )


def last_step(of_extractor: dict[tuple[str, int, str], Row]) -> int:
    """The step at which all of an extractor's layers have new weights."""
    return max(step for _, step, _ in of_extractor)


def fall(at: Known, places: Places, test: str) -> Finding:
    """How far the correlations fall, where they do not, and where much of them is left.

    Args:
        at: the rows.
        places: by extractor, the test and step to look at.
        test: randomised or shuffled.
    """
    changes: dict[str, list[dict[str, object]]] = {"correlation": [], "own_correlation": []}
    kept, left = [], []
    for extractor, place in places.items():
        for measure, of_measure in changes.items():
            known, unknown = at[extractor]["trained", 0, measure], at[extractor][*place, measure]
            of_measure.append({"extractor": extractor, "before": known["value"], "after": unknown["value"]})
            if unknown["high"] >= known["low"]:
                kept.append({"extractor": extractor, "measure": measure})
            if measure == "correlation" and known["low"] > 0 and unknown["low"] > known["value"] / 2:
                left.append({"extractor": extractor, "row": unknown})
    return PROSE.finding("fall", test=test, changes=changes, kept=kept, left=left)


def decisive(at: Known) -> Finding:
    """The layer at which the correlation of an image's own falls most, and what the layers above it cost."""
    falls, indifferent = [], []
    for extractor, of in at.items():
        path = [of["trained", 0, "own_correlation"]]
        path += [of["randomised", step, "own_correlation"] for step in range(1, last_step(of) + 1)]
        drops = [row["value"] - after["value"] for row, after in pairwise(path)]
        step = drops.index(max(drops)) + 1
        falls.append({"extractor": extractor, "before": path[step - 1], "after": path[step]})
        if step > 1 and path[step - 1]["low"] > 0 and path[step - 1]["value"] > path[0]["value"] / 2:
            indifferent.append({"extractor": extractor, "before": path[step - 1]})
    return PROSE.finding("decisive", falls=falls, indifferent=indifferent)


def strides(at: Known, n: int) -> list[Finding]:
    """Extractors whose highest positions stand on even rows and columns, whatever they have learned."""
    found = []
    for extractor, of in at.items():
        known, unknown = of["trained", 0, "even_share"], of["randomised", last_step(of), "even_share"]
        if known["low"] > OFTEN:
            learned = unknown["high"] < known["low"] and unknown["low"] <= QUARTER
            origin = "architecture" if unknown["low"] > OFTEN else "training" if learned else ""
            facts = {"extractor": extractor, "n": n, "trained": known["value"], "randomised": unknown["value"]}
            found.append(PROSE.finding("strides", origin=origin, **facts))
    return found


def summary(at: Known, tests: dict[str, Places]) -> Table:
    """An extractor and its weights a row, measures in columns."""
    table = Table(["extractor", "weights", *(PROSE.text("measure", name=name) for name in MEASURES)], 2)
    for extractor, of in at.items():
        places = {test: of_test[extractor] for test, of_test in tests.items() if extractor in of_test}
        for test, place in ({"trained": ("trained", 0)} | places).items():
            cells = [estimate(of[*place, measure]) for measure in MEASURES]
            table.rows.append([Cell(extractor), Cell(PROSE.text("weights", test=test)), *cells])
    return table


def cascade(at: Known) -> Table:
    """A layer a row, in the order in which they are given new weights."""
    table = Table(["extractor", "layers", "up to", *(PROSE.text("measure", name=name) for name in MEASURES)], 3)
    for extractor, of in at.items():
        for step in range(1, last_step(of) + 1):
            cells = [estimate(of["randomised", step, measure]) for measure in MEASURES]
            layer = of["randomised", step, "correlation"]["layer"]
            table.rows.append([Cell(extractor), number(step), Cell(layer), *cells])
    return table

"""Stability: how many noisy copies of an image do its scores need?"""

from pathlib import Path

from cortex.report.prose import Prose
from cortex.report.rows import Rows, groups
from cortex.report.tables import Cell, Table, estimate
from cortex.report.topic import Finding, Topic

PROSE = Prose(Path(__file__).with_name("page.j2"))
ENOUGH = 0.8  # of the highest positions are the same


def section(rows: Rows) -> Topic:
    """The section of how far scores of independent noise agree."""
    reference = max(row["other_samples"] for row in rows)
    equal = [row for row in rows if row["other_samples"] != reference]
    beside_more = [row for row in rows if row["other_samples"] == reference]
    return PROSE.topic(
        images=rows[0]["images"],
        reference=reference,
        findings=[enough(of_n, n) for (n,), of_n in groups(equal, "n").items() if n is not None],
        tables=[
            PROSE.table("equal", agreement(equal), enough=ENOUGH),
            PROSE.table("beside_more", agreement(beside_more), enough=ENOUGH, reference=reference),
        ],
    )


def enough(rows: Rows, n: int) -> Finding:
    """The smallest number of copies with which two users find the same highest positions.

    Args:
        rows: the overlaps at this n.
        n: of the highest positions.
    """
    needed = []
    for (extractor,), of_extractor in groups(rows, "extractor").items():
        ranked = sorted(of_extractor, key=lambda row: row["samples"])
        short = [place for place, row in enumerate(ranked) if row["value"] < ENOUGH]
        first = next(iter(ranked[max(short) + 1 if short else 0 :]), None)  # from which on none falls short
        at = first or ranked[-1]
        needed.append({"extractor": extractor, "reached": first is not None, "samples": at["samples"], "row": at})
    return PROSE.finding("enough", enough=ENOUGH, n=n, needed=needed)


def agreement(rows: Rows) -> Table:
    """An extractor and measure a row, numbers of copies in columns."""
    counts = sorted({row["samples"] for row in rows})
    table = Table(["extractor", "measure", *(f"copies: {count}" for count in counts)], 2)
    for (extractor, measure, n), group in groups(rows, "extractor", "measure", "n").items():
        at = {row["samples"]: row for row in group}
        cells = [estimate(at[count], best=n is not None and at[count]["low"] >= ENOUGH) for count in counts]
        table.rows.append([Cell(extractor), Cell(measure if n is None else f"{measure}, n = {n}"), *cells])
    return table

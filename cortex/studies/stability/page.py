"""Stability: how many noisy copies of an image do its scores need?"""

from pathlib import Path
from typing import Any

from cortex.report.prose import Prose
from cortex.report.rows import Rows, groups
from cortex.report.tables import Cell, Table, estimate
from cortex.report.topic import Topic

PROSE = Prose(Path(__file__).with_name("page.j2"))
ENOUGH = 0.8  # of the highest positions are the same


def section(rows: Rows, copies: int | None = None) -> Topic:
    """The section of how far scores of independent noise agree.

    Args:
        rows: its metrics.
        copies: noisy copies of the run's own scores.
    """
    reference = max(row["other_samples"] for row in rows)
    equal = [row for row in rows if row["other_samples"] != reference]
    beside_more = [row for row in rows if row["other_samples"] == reference]
    by_n = {n: of_n for (n,), of_n in groups(equal, "n").items()}
    first = min(n for n in by_n if n is not None)
    return PROSE.topic(
        images=rows[0]["images"],
        reference=reference,
        findings=[
            PROSE.finding("enough", enough=ENOUGH, n=n, needed=needed(of_n))
            for n, of_n in by_n.items()
            if n is not None
        ],
        tables=[
            PROSE.table("equal", agreement(equal), enough=ENOUGH),
            PROSE.table("beside_more", agreement(beside_more), enough=ENOUGH, reference=reference),
        ],
        answers={"reliability": PROSE.text("noise", enough=ENOUGH, n=first, needed=needed(by_n[first]), copies=copies)},
    )


def needed(rows: Rows) -> list[dict[str, Any]]:
    """By extractor, the smallest number of copies with which two users find the same highest positions.

    Args:
        rows: the overlaps at one n.
    """
    found = []
    for (extractor,), of_extractor in groups(rows, "extractor").items():
        ranked = sorted(of_extractor, key=lambda row: row["samples"])
        short = [place for place, row in enumerate(ranked) if row["value"] < ENOUGH]
        first = next(iter(ranked[max(short) + 1 if short else 0 :]), None)  # from which on none falls short
        at = first or ranked[-1]
        found.append({"extractor": extractor, "reached": first is not None, "samples": at["samples"], "row": at})
    return found


def agreement(rows: Rows) -> Table:
    """An extractor and measure a row, numbers of copies in columns."""
    counts = sorted({row["samples"] for row in rows})
    table = Table(["extractor", "measure", *(f"copies: {count}" for count in counts)], 2)
    for (extractor, measure, n), group in groups(rows, "extractor", "measure", "n").items():
        at = {row["samples"]: row for row in group}
        cells = [estimate(at[count], best=n is not None and at[count]["low"] >= ENOUGH) for count in counts]
        table.rows.append([Cell(extractor), Cell(measure if n is None else f"{measure}, n = {n}"), *cells])
    return table

"""Stability: how many noisy copies of an image do its scores need?"""

from cortex.report.estimates import cell, estimate
from cortex.report.findings import Finding, Rows
from cortex.report.tabular import Cell, Table, groups
from cortex.report.topic import Topic

LEAD = (
    "Scores are means over noisy copies of an image (SmoothGrad), so other noise gives other scores. {images:,} test "
    "images were scored with several numbers of copies, twice with independent noise, and once with {reference}. Is "
    "what stands highest a matter of the image, or of the noise?"
)
NOTE = (
    "Means over images, with their 95 % intervals: rank correlation (Spearman's) over the positions of an image, and "
    "the share of its n highest positions that are the same. Bold: the lower end is at least {enough}."
)
ENOUGH = 0.8  # of the highest positions are the same


def section(rows: Rows) -> Topic:
    """The section of how far scores of independent noise agree."""
    reference = max(row["other_samples"] for row in rows)
    beside_same = [row for row in rows if row["other_samples"] != reference]
    beside_more = [row for row in rows if row["other_samples"] == reference]
    note = NOTE.format(enough=ENOUGH)
    return Topic(
        title="How many noisy copies do the scores need?",
        link="Stability",
        lead=LEAD.format(images=rows[0]["images"], reference=reference),
        findings=[enough(of_n, n) for (n,), of_n in groups(beside_same, "n").items() if n is not None],
        tables=[
            ("Two sets of as many copies", note, agreement(beside_same)),
            (f"Beside the scores of {reference} copies", note, agreement(beside_more)),
        ],
    )


def enough(rows: Rows, n: int) -> Finding:
    """The smallest number of copies with which two users find the same highest positions.

    Args:
        rows: the overlaps at this n.
        n: of the highest positions.
    """
    reached, never = [], []
    for (extractor,), of_extractor in groups(rows, "extractor").items():
        ranked = sorted(of_extractor, key=lambda row: row["samples"])
        short = [place for place, row in enumerate(ranked) if row["value"] < ENOUGH]
        first = next(iter(ranked[max(short) + 1 if short else 0 :]), None)  # from which on none falls short
        if first is not None:
            reached.append(f"{first['samples']} with {extractor}, {estimate(first)}")
        else:
            never.append(f"{extractor}, with {ranked[-1]['samples']} copies {estimate(ranked[-1])}")
    headline = f"Two sets of noise agree on at least {100 * ENOUGH:.0f} % of the {n} highest positions "
    headline += f"from so many copies on: {'; '.join(reached)}." if reached else "with no number of copies tried"
    if reached and never:
        headline += f" With none that was tried: {'; '.join(never)}."
    elif never:
        headline += f": {'; '.join(never)}."
    return Finding(headline)


def agreement(rows: Rows) -> Table:
    """An extractor and measure a row, numbers of copies in columns."""
    counts = sorted({row["samples"] for row in rows})
    table = Table(["extractor", "measure", *(f"copies: {count}" for count in counts)], 2)
    for (extractor, measure, n), group in groups(rows, "extractor", "measure", "n").items():
        at = {row["samples"]: row for row in group}
        cells = [cell(at[count], best=n is not None and at[count]["low"] >= ENOUGH) for count in counts]
        table.rows.append([Cell(extractor), Cell(measure if n is None else f"{measure}, n = {n}"), *cells])
    return table

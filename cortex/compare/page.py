"""The page of a comparison: one HTML file, in the style of a run's report."""

import base64
from collections.abc import Callable, Mapping
from pathlib import Path

from cortex.compare import page_tables
from cortex.compare.answers import TEMPLATES as COMPARISON
from cortex.compare.answers import Evidence, answers, shown_overlaps, typical_area
from cortex.compare.cards import FIRST, Gallery
from cortex.compare.page_tables import Invalid
from cortex.compare.shared import Shared
from cortex.core.files import whole_file
from cortex.core.provenance import provenance
from cortex.report import TEMPLATES
from cortex.report.cards import FEW, LISTED
from cortex.report.html import load_page
from cortex.report.pictures import MIME, Picture
from cortex.report.rows import Rows, mean, select
from cortex.report.tables import Table

FIGURE_TITLE = "Deletion curves at equal area."
FIGURE_TEXT = (
    "A colour a run; solid: masks of important tokens; dotted: random masks of the same area. Bands: 95 % intervals "
    "over trainings and images. Thin lines: single trainings. Lower is better for important tokens."
)


def write_page(output: Path, shared: Shared, tables: Mapping[str, Rows], figure: Path | None) -> None:
    """Write the page.

    Args:
        output: HTML file to write.
        shared: what the runs share.
        tables: rows by table.
        figure: the curves (svg); None where no curves are compared.
    """
    names = [run.name for run in shared.runs]
    invalid: Invalid = {run.name: [one for one in run.readers if not one.valid] for run in shared.runs}
    evidence = Evidence(shared, tables, invalid)
    accuracies, excess = (select(tables["differences"], measure=measure) for measure in ("accuracy", "excess"))
    overlap = tables["overlap"]
    page = load_page(COMPARISON, TEMPLATES, name="compare.html.j2").render(
        shared=shared,
        gallery=Gallery(shared, most_accurate(shared, tables["accuracy"])),
        few=FEW,
        first=FIRST,
        listed_tokens=LISTED,
        invalid=invalid,
        answers=answers(evidence),
        overlap=_parts(page_tables.overlap_table, shown_overlaps(shared, overlap), overlap),
        curves=page_tables.curves_table(tables["curves"], invalid) if figure else None,
        figures=[_picture(figure)] if figure else [],
        curve_differences=_parts(
            lambda rows: page_tables.differences_table(rows, invalid), select(excess, area=typical_area(excess)), excess
        ),
        accuracy=page_tables.accuracy_table(tables["accuracy"], names),
        accuracy_differences=page_tables.differences_table(accuracies, invalid),
        by_class=page_tables.class_table(tables["accuracy"], names),
        facts=page_tables.runs_table(shared),
        left_out=page_tables.left_out_table(shared.left_out),
        settings=page_tables.settings_table(shared.runs),
        written_by=provenance(),
    )
    with whole_file(output) as temporary:
        temporary.write_text(page, encoding="utf-8")


def most_accurate(shared: Shared, rows: Rows) -> str:
    """The extractor of highest accuracy, mean over runs."""
    over_all = select(rows, training=None, **{"class": None})
    return max(shared.extractors, key=lambda name: mean(row["accuracy"] for row in select(over_all, extractor=name)))


def _parts(table: Callable[[Rows], Table], shown: Rows, every: Rows) -> dict[str, Table] | None:
    """A table of the rows that are shown at first, and one of all rows; None of no rows."""
    return {"shown": table(shown), "all": table(every)} if every else None


def _picture(figure: Path) -> Picture:
    content = base64.b64encode(figure.read_bytes()).decode()
    return Picture("deletion_curves", f"data:{MIME['svg']};base64,{content}", FIGURE_TITLE, FIGURE_TEXT)

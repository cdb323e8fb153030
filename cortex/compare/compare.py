"""Compare runs: tables, a figure and a page, from their folders alone."""

from pathlib import Path

import pyarrow as pa
from tyro.conf import Positional

from cortex.compare import tables, tokens
from cortex.compare.figures import deletion_curves
from cortex.compare.page import write_page
from cortex.compare.runs import open_runs
from cortex.compare.shared import find_shared
from cortex.core.files import replaceable
from cortex.core.tables import write_table
from cortex.report.figures.style import save_figure
from cortex.report.rows import select

LEFT_OUT = pa.schema([("what", pa.string()), ("names", pa.string()), ("reason", pa.string())])
SCHEMAS = {
    "accuracy": tables.ACCURACY,
    "curves": tables.CURVES,
    "differences": tables.DIFFERENCES,
    "tokens": tokens.TOKENS,
    "overlap": tokens.OVERLAP,
    "left_out": LEFT_OUT,
}
PAGE, FIGURE = "compare.html", "deletion_curves.svg"


def compare_runs(runs: Positional[tuple[Path, ...]], *, output: Path, resamples: int = 2000, seed: int = 0) -> None:
    """Compare finished runs: other generators on the same classes, or one generator with other seeds or settings.

    Classes are matched by name, extractors and judges by name and network, methods of importance by name. What some run
    lacks is left out by name. Differences cover trainings and images of both runs (METHOD.md, section 10); a run with
    one training has no verdict.

    Args:
        runs: folders of two or more finished runs, such as results/a results/b.
        output: folder to write compare.html to, with the tables accuracy, curves, differences, tokens, overlap and
            left_out (Parquet) and the figure deletion_curves.svg.
        resamples: number of bootstrap resamples of single trainings' intervals.
        seed: seed of the bootstrap.
    """
    shared = find_shared(open_runs(runs))
    measured = tables.Measured(shared)
    rows = {
        "accuracy": tables.accuracy_rows(measured, resamples, seed),
        "curves": tables.curve_rows(measured, resamples, seed),
        "differences": tables.difference_rows(measured),
        "tokens": tokens.token_rows(shared),
        "overlap": tokens.overlap_rows(shared),
        "left_out": [vars(one) for one in shared.left_out],
    }
    written = {name: pa.Table.from_pylist(of_table, SCHEMAS[name]) for name, of_table in rows.items()}
    for name, table in written.items():
        write_table(output / f"{name}.parquet", table)
    complete = {name: table.to_pylist() for name, table in written.items()}
    curves = select(complete["curves"], attribution=shared.attributions[0], **{"class": None})
    replaceable(output / FIGURE).unlink(missing_ok=True)  # that of other runs, where these have no curves
    if curves:
        save_figure(deletion_curves(curves), output / FIGURE)
    write_page(output / PAGE, shared, complete, output / FIGURE if curves else None)

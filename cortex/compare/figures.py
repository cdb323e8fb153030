"""Figures of a comparison: deletion curves of the runs."""

from itertools import cycle
from typing import Any

from matplotlib.figure import Figure

from cortex.compare.values import EQUAL_AREA
from cortex.explain import IMPORTANCE
from cortex.report.figures.panels import facets, legend, percent_axis
from cortex.report.figures.style import FAINT, SERIES, styled
from cortex.report.rows import Rows, distinct, groups, select

LINES: dict[str, dict[str, Any]] = {
    IMPORTANCE: {"linestyle": "-", "marker": "o"},
    EQUAL_AREA: {"linestyle": ":", "marker": "^", "markersize": 3.5},
}


@styled
def deletion_curves(rows: Rows) -> Figure:
    """Change of the judges' probability by the masked area, a colour a run; a panel for each extractor and judge.

    Solid lines are masks of important tokens, dotted lines random masks of equal area. Bands are 95 % intervals over
    trainings and images. Thin lines are single trainings.

    Args:
        rows: curves of one method of importance over all shared classes.
    """
    figure, panels = facets(rows)
    colours = dict(zip(distinct(rows, "run"), cycle(SERIES), strict=False))
    for (extractor, judge), axes in panels.items():
        of_panel = select(rows, extractor=extractor, judge=judge)
        for (run, training), of_training in groups(of_panel, "run", "training").items():
            _draw(axes, sorted(of_training, key=lambda row: row["area"]), colours[run], thin=training is not None)
        axes.axhline(0, color=FAINT, linewidth=0.8)
        axes.set_xlim(0, None)
    percent_axis(panels.values())
    figure.supxlabel("share of the image's area that is masked (mean)", fontsize=9)
    figure.supylabel("change of the judges' probability of the class", fontsize=9)
    legend(figure, panels)
    return figure


def _draw(axes: Any, curve: Rows, colour: str, *, thin: bool) -> None:
    """The curves of a run or, thin, of one of its trainings."""
    areas = [row["area"] for row in curve]
    for method, line in LINES.items():
        change, low, high = ([row[f"{method}{end}"] for row in curve] for end in ("", "_low", "_high"))
        if thin:
            axes.plot(areas, change, color=colour, linewidth=0.5, alpha=0.7, linestyle=line["linestyle"])
        else:
            label = f"{curve[0]['run']}, {method.replace('_', ' ')}"
            axes.fill_between(areas, low, high, color=colour, alpha=0.13, linewidth=0)
            axes.plot(areas, change, color=colour, label=label, **line)

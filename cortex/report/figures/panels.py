"""Figures made of curves and marks: training histories and metrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cortex.extractors.names import split_name
from cortex.report.figures.style import BLUE, FAINT, INK, SERIES, VERMILION, WIDTH, look_of, styled
from cortex.report.levels import Comparison
from cortex.report.results import claims, trainings
from cortex.report.rows import Row, Rows, distinct, groups, select

VERDICT_COLOURS = {"better": BLUE, "worse": VERMILION, "no difference found": FAINT, "no verdict": INK}


@styled
def training(
    extractors: Mapping[str, Mapping[str, Sequence[float]]], judges: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Training curves: the extractors' losses and validation accuracy, the held-out accuracy of trained judges.

    Args:
        extractors: by name, such as cnn/0, the columns of its history (epoch, train_loss, val_loss, val_top1). The
            trainings of an extractor have one colour.
        judges: by name, the columns of its history (epoch, held_out_top1).
    """
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    losses, accuracy, *rest = figure.subplots(1, 3 if judges else 2)
    names = list(dict.fromkeys(split_name(trained)[0] for trained in extractors))
    colours = dict(zip(names, _series(), strict=False))
    for trained, history in extractors.items():
        name, _ = split_name(trained)
        label, colour = name if name not in losses.get_legend_handles_labels()[1] else None, colours[name]
        epochs, best = history["epoch"], int(np.argmin(history["val_loss"]))
        losses.plot(epochs, history["train_loss"], color=colour, linewidth=1.0, linestyle=":")
        losses.plot(epochs, history["val_loss"], color=colour, label=label)
        losses.plot(epochs[best], history["val_loss"][best], "o", color=colour)
        accuracy.plot(epochs, history["val_top1"], color=colour)
        accuracy.plot(epochs[best], history["val_top1"][best], "o", color=colour)
    losses.set(title="Extractors: loss", xlabel="epoch", ylabel="nats (dotted: train)", yscale="log")
    losses.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    losses.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    accuracy.set(title="Extractors: validation top-1", xlabel="epoch")
    for held_out in rest:
        # Judges have colours of their own: one may be called what an extractor is called.
        for (name, history), colour in zip(judges.items(), islice(_series(), len(names), None), strict=False):
            held_out.plot(history["epoch"], history["held_out_top1"], color=colour, label=f"judge {name}", marker=".")
        held_out.set(title="Judges: top-1 on held-out real images", xlabel="epoch")
    for axes in (losses, accuracy, *rest):
        _whole_numbers(axes)
    for axes in (losses, *rest):
        axes.legend()
    for axes in (accuracy, *rest):
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    return figure


@styled
def masking(rows: Rows, against: Literal["n", "masked_fraction", "masked_brightness"]) -> Figure:
    """What masking costs: a judge's change of probability, a panel for each extractor (column) and judge (row).

    Bands are the 95 % intervals of the means over trainings and images. Thin lines are single trainings.

    Args:
        rows: image-level metrics of one method of importance.
        against: horizontal axis: n, or the masked share of the image's area or brightness.
    """
    over_all, singles = claims(rows), trainings(rows)
    figure, panels = facets(over_all)
    for (extractor, judge), axes in panels.items():
        for place, method in enumerate(distinct(over_all, "method")):
            look = look_of(method, place)
            (mean,) = _curves(over_all, extractor, judge, method)
            places = [row[against] for row in mean]
            change, low, high = ([row[f"probability_change{side}"] for row in mean] for side in ("", "_low", "_high"))
            axes.fill_between(places, low, high, color=look["color"], alpha=0.15, linewidth=0)
            axes.plot(places, change, label=method, **look)
            for curve in _curves(singles, extractor, judge, method):
                values = [row["probability_change"] for row in curve]
                axes.plot([row[against] for row in curve], values, color=look["color"], linewidth=0.5, alpha=0.7)
        axes.axhline(0, color=FAINT, linewidth=0.8)
    if against == "n":
        for axes in panels.values():
            _whole_numbers(axes)
        figure.supxlabel("n: positions whose codes are masked", fontsize=9)
    else:
        percent_axis(panels.values())
        for axes in panels.values():
            axes.set_xlim(0, None)
        share = {"masked_fraction": "area", "masked_brightness": "brightness"}[against]
        figure.supxlabel(f"share of the image's {share} that is masked (mean)", fontsize=9)
    figure.supylabel("change of the judges' probability of the class", fontsize=9)
    legend(figure, panels)
    return figure


@styled
def concept_level(beside: Sequence[Comparison], singles: Rows) -> Figure:
    """How much more concept tokens cost than frequent ones, with intervals, and how much each masks.

    Args:
        beside: concept tokens beside the frequency baseline over all images and trainings, of one method of importance.
        singles: the same comparisons of single trainings.
    """
    figure, panels = facets([one.row for one in beside], height=0.6 + 0.32 * _settings(beside))
    for (extractor, judge), axes in panels.items():
        compared = [one for one in beside if (one.row["extractor"], one.row["judge"]) == (extractor, judge)]
        for place, one in enumerate(compared):
            colour = VERDICT_COLOURS[one.verdict or "no verdict"]
            axes.plot([one.row["low"], one.row["high"]], [place, place], color=colour, linewidth=2.0)
            axes.plot(one.row["difference"], place, "o", color=colour, markersize=6)
            for row in singles:
                if _same(row, one.row):
                    axes.plot(row["difference"], place, "|", color=colour, markersize=7)
            areas = f"{100 * one.method['masked_fraction']:.0f} : {100 * one.baseline['masked_fraction']:.0f} %"
            axes.text(0.99, place, areas, transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=7.5)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.margins(x=0.25)  # room for the areas
        axes.set(
            yticks=range(len(compared)),
            yticklabels=[setting_name(one.row) for one in compared],
            ylim=(len(compared) - 0.5, -0.5),
        )
        axes.grid(axis="y", visible=False)
    figure.supxlabel("change of the judges' probability of the class, concept minus frequent tokens", fontsize=9)
    given = {one.verdict or "no verdict" for one in beside}
    looks = [(name, colour) for name, colour in VERDICT_COLOURS.items() if name in given]
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9)
    return figure


def setting_name(row: Row) -> str:
    """A setting of the concept level: the kind of list, and its area or top_n."""
    size = f"top_n = {row['setting']}" if row["area"] is None else f"{100 * row['area']:.0f} % of the area"
    return f"{row['list']}, {size}"


@styled
def codebook_level(rows: Rows) -> Figure:
    """The target's probability before (hollow) and after (solid) the region was replaced, a panel for each judge.

    The bar behind a solid mark is the 95 % interval of its mean. Thin marks are single trainings.

    Args:
        rows: codebook-level metrics.
    """
    over_all = claims(rows)
    extractors, judges, methods = (distinct(over_all, column) for column in ("extractor", "judge", "method"))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.5 * len(extractors)), layout="constrained")
    for axes, judge in zip(figure.subplots(1, len(judges), sharey=True, squeeze=False)[0], judges, strict=True):
        for place, extractor in enumerate(extractors):
            for number, (shift, method) in enumerate(zip(np.linspace(-0.16, 0.16, len(methods)), methods, strict=True)):
                look, of = look_of(method, number), {"extractor": extractor, "judge": judge, "method": method}
                for row in select(over_all, **of):
                    before, after = row["target_probability_before"], row["target_probability_after"]
                    label = method if place == 0 else None
                    interval = [row["target_probability_after_low"], row["target_probability_after_high"]]
                    bar = {"alpha": 0.3, "linewidth": 7, "solid_capstyle": "butt"}  # ends at the interval's ends
                    axes.plot(interval, [place + shift] * 2, color=look["color"], **bar)
                    axes.plot([before, after], [place + shift] * 2, **look | {"marker": "", "linestyle": "-"})
                    axes.plot(before, place + shift, **look | {"markerfacecolor": "white", "linestyle": "none"})
                    axes.plot(after, place + shift, **look | {"linestyle": "none"}, label=label)
                for row in select(trainings(rows), **of):
                    axes.plot(row["target_probability_after"], place + shift, "|", color=INK, markersize=6)
        axes.set(title=f"judge {judge}", yticks=range(len(extractors)), yticklabels=extractors, xlim=(0, None))
        axes.set_ylim(len(extractors) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
    figure.supxlabel("probability of the target class, before (hollow) and after", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=len(methods))
    return figure


def _curves(rows: Rows, extractor: str, judge: str, method: str) -> list[list[Row]]:
    """Rows of a method in the order of n, a list for each training."""
    found = select(rows, extractor=extractor, judge=judge, method=method)
    return [sorted(of, key=lambda row: row["n"]) for of in groups(found, "training").values()]


def _settings(beside: Sequence[Comparison]) -> int:
    """How many settings a panel of the concept level has at most."""
    return max(len(of) for of in groups([one.row for one in beside], "extractor", "judge").values())


def _same(row: Row, other: Row) -> bool:
    """Whether two comparisons are of the same extractor, judge and setting."""
    return all(row.get(name) == other.get(name) for name in ("extractor", "judge", "setting", "list", "area"))


def _series() -> Iterator[str]:
    """Colours of so many series, from the first again after the last."""
    while True:
        yield from SERIES


def facets(rows: Rows, height: float = 2.3) -> tuple[Figure, dict[tuple[str, str], Any]]:
    """A panel for each extractor (column) and judge (row); the panels of a judge share their scale."""
    extractors, judges = distinct(rows, "extractor"), distinct(rows, "judge")
    width = max(WIDTH, 2.4 * len(extractors))  # many panels: the page scales the figure down
    figure = Figure(figsize=(width, 0.7 + height * len(judges)), layout="constrained")
    grid = figure.subplots(len(judges), len(extractors), sharex=True, sharey="row", squeeze=False)
    panels = {}
    for row, judge in enumerate(judges):
        for column, extractor in enumerate(extractors):
            panels[extractor, judge] = grid[row][column]
            grid[row][column].set_title(f"{extractor}, judge {judge}")
    return figure, panels


def percent_axis(panels: Iterable[Any]) -> None:
    """Horizontal axes of shares, in percent."""
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")


def _whole_numbers(axes: Any) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def legend(figure: Figure, panels: Mapping[Any, Any]) -> None:
    """One legend for all panels, above them."""
    handles, labels = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)

"""Figures made of curves and marks: training histories and metrics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cortex.extractors.names import AVERAGE, split_name
from cortex.report.figures.style import BLUE, FAINT, INK, SERIES, VERMILION, WIDTH, look_of, styled
from cortex.report.rows import Rows, claims, distinct, groups, select

CHANGE = ("probability_change", "probability_change_low", "probability_change_high")
VERDICT_COLOURS = {"better": BLUE, "worse": VERMILION, "no difference found": FAINT, "no verdict": INK}


@styled
def training(
    extractors: Mapping[str, Mapping[str, Sequence[float]]], judges: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Training curves: the extractors' losses and validation accuracy, the judges' held-out accuracy.

    Trainings of an extractor share its colour.

    Args:
        extractors: by trained extractor, such as cnn/0, the columns of its history (epoch, train_loss, val_loss,
            val_top1).
        judges: by name, the columns of its history (epoch, held_out_top1).
    """
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    losses, accuracy, held_out = figure.subplots(1, 3)
    names = dict.fromkeys(split_name(trained)[0] for trained in extractors)
    colours = dict(zip(names, _series(), strict=False))
    for trained, history in extractors.items():
        name, training = split_name(trained)
        colour, label = colours[name], name if training == 0 else None
        epochs, best = history["epoch"], int(np.argmin(history["val_loss"]))
        losses.plot(epochs, history["train_loss"], color=colour, linewidth=1.0, linestyle=":")
        losses.plot(epochs, history["val_loss"], color=colour, label=label)
        losses.plot(epochs[best], history["val_loss"][best], "o", color=colour)
        accuracy.plot(epochs, history["val_top1"], color=colour, label=label)
        accuracy.plot(epochs[best], history["val_top1"][best], "o", color=colour)
    # Judges have colours of their own: one may be called what an extractor is called.
    for (name, history), colour in zip(judges.items(), islice(_series(), len(names), None), strict=False):
        held_out.plot(history["epoch"], history["held_out_top1"], color=colour, label=f"judge {name}", marker=".")
    losses.set(title="Extractors: loss", xlabel="epoch", ylabel="nats (dotted: train)", yscale="log")
    losses.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    losses.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    accuracy.set(title="Extractors: validation top-1", xlabel="epoch")
    held_out.set(title="Judges: top-1 on held-out real images", xlabel="epoch")
    for axes in (losses, accuracy, held_out):
        _whole_numbers(axes)
    for axes in (losses, held_out) if judges else (losses,):
        axes.legend()
    for axes in (accuracy, held_out):
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.4g} %")
    return figure


@styled
def masking(rows: Rows, against: Literal["n", "masked_fraction", "masked_brightness"]) -> Figure:
    """What masking costs: a judge's change of probability, a panel for each extractor (column) and judge (row).

    Bands are the 95 % intervals of the means. Thin lines are the trainings of the extractor.

    Args:
        rows: image-level metrics.
        against: horizontal axis: n, or the masked share of the image's area or brightness.
    """
    figure, panels = _facets(rows)
    for (extractor, judge), axes in panels.items():
        for place, method in enumerate(distinct(rows, "method")):
            of_method = select(rows, extractor=extractor, judge=judge, method=method)
            look = look_of(method, place)
            for (training,), of_training in groups(of_method, "training").items():
                if training not in (None, AVERAGE):
                    places, change = _curve(of_training, against, "probability_change")
                    axes.plot(places, change, color=look["color"], linewidth=0.6, alpha=0.5)
            places, change, low, high = _curve(claims(of_method), against, *CHANGE)
            axes.fill_between(places, low, high, color=look["color"], alpha=0.15, linewidth=0)
            axes.plot(places, change, label=method, **look)
        axes.axhline(0, color=FAINT, linewidth=0.8)
    if against == "n":
        for axes in panels.values():
            _whole_numbers(axes)
        figure.supxlabel("n: positions whose codes are masked", fontsize=9)
    else:
        _percent_axis(panels.values())
        for axes in panels.values():
            axes.set_xlim(0, None)
        share = {"masked_fraction": "area", "masked_brightness": "brightness"}[against]
        figure.supxlabel(f"share of the image's {share} that is masked (mean)", fontsize=9)
    figure.supylabel("change of the label's probability", fontsize=9)
    _legend(figure, panels)
    return figure


@styled
def concept_level(rows: Rows, comparisons: Rows) -> Figure:
    """How much more concept-level tokens cost than frequent ones, with intervals, and how much each masks.

    Args:
        rows: concept-level metrics.
        comparisons: of concept-level tokens with the frequency baseline, over all images.
    """
    figure, panels = _facets(comparisons)
    for (extractor, judge), axes in panels.items():
        (frequent,) = select(rows, extractor=extractor, judge=judge, method="frequency")
        compared = sorted(select(comparisons, extractor=extractor, judge=judge), key=lambda row: row["setting"])
        for place, row in enumerate(compared):
            colour = VERDICT_COLOURS[row["verdict"] or "no verdict"]
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.0)
            axes.plot(row["difference"], place, "o", color=colour, markersize=6)
            (mine,) = select(rows, extractor=extractor, judge=judge, method="importance", top_n=row["setting"])
            areas = f"{100 * mine['masked_fraction']:.0f} : {100 * frequent['masked_fraction']:.0f} %"
            axes.text(0.99, place, areas, transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=7.5)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.margins(x=0.25)  # room for the areas
        axes.set(
            yticks=range(len(compared)),
            yticklabels=[f"top_n = {row['setting']}" for row in compared],
            ylim=(len(compared) - 0.5, -0.5),
        )
        axes.grid(axis="y", visible=False)
    figure.supxlabel("change of the label's probability, concept-level minus frequent tokens", fontsize=9)
    given = {row["verdict"] or "no verdict" for row in comparisons}
    looks = [(name, colour) for name, colour in VERDICT_COLOURS.items() if name in given]
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9)
    return figure


@styled
def codebook_level(rows: Rows) -> Figure:
    """The target's probability before (hollow) and after (solid) the region was replaced, a panel for each judge.

    The bar behind a solid mark is the mean's 95 % interval.

    Args:
        rows: codebook-level metrics.
    """
    extractors, judges, methods = (distinct(rows, column) for column in ("extractor", "judge", "method"))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.5 * len(extractors)), layout="constrained")
    for axes, judge in zip(figure.subplots(1, len(judges), sharey=True, squeeze=False)[0], judges, strict=True):
        for place, extractor in enumerate(extractors):
            for number, (shift, method) in enumerate(zip(np.linspace(-0.16, 0.16, len(methods)), methods, strict=True)):
                for row in select(rows, extractor=extractor, judge=judge, method=method):
                    look = look_of(method, number)
                    before, after = row["target_probability_before"], row["target_probability_after"]
                    label = method if place == 0 else None
                    interval = [row["target_probability_after_low"], row["target_probability_after_high"]]
                    bar = {"alpha": 0.3, "linewidth": 7, "solid_capstyle": "butt"}  # ends at the interval's ends
                    axes.plot(interval, [place + shift] * 2, color=look["color"], **bar)
                    axes.plot([before, after], [place + shift] * 2, **look | {"marker": "", "linestyle": "-"})
                    axes.plot(before, place + shift, **look | {"markerfacecolor": "white", "linestyle": "none"})
                    axes.plot(after, place + shift, **look | {"linestyle": "none"}, label=label)
        axes.set(title=f"judge {judge}", yticks=range(len(extractors)), yticklabels=extractors, xlim=(0, None))
        axes.set_ylim(len(extractors) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
    figure.supxlabel("probability of the target class, before (hollow) and after", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=len(methods))
    return figure


def _curve(rows: Rows, *columns: str) -> list[list[float]]:
    """Columns of the rows in the order of n."""
    ordered = sorted(rows, key=lambda row: row["n"])
    return [[row[column] for row in ordered] for column in columns]


def _series() -> Iterator[str]:
    """Colours of so many series, from the first again after the last."""
    while True:
        yield from SERIES


def _facets(rows: Rows) -> tuple[Figure, dict[tuple[str, str], Any]]:
    """A panel for each extractor (column) and judge (row); the panels of a judge share their scale."""
    extractors, judges = distinct(rows, "extractor"), distinct(rows, "judge")
    width = max(WIDTH, 2.4 * len(extractors))  # many panels: the page scales the figure down
    figure = Figure(figsize=(width, 0.7 + 2.3 * len(judges)), layout="constrained")
    grid = figure.subplots(len(judges), len(extractors), sharex=True, sharey="row", squeeze=False)
    panels = {}
    for row, judge in enumerate(judges):
        for column, extractor in enumerate(extractors):
            panels[extractor, judge] = grid[row][column]
            grid[row][column].set_title(f"{extractor}, judge {judge}")
    return figure, panels


def _percent_axis(panels: Iterable[Any]) -> None:
    for axes in panels:
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")


def _whole_numbers(axes: Any) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _legend(figure: Figure, panels: Mapping[Any, Any]) -> None:
    handles, labels = next(iter(panels.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=9)

"""The report's figures: plain values in, one matplotlib figure out; nothing here reads a file or imports torch."""

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cortex.core.files import whole_file

Images = NDArray[np.uint8]  # [..., H, W, 3]
Rows = Sequence[Mapping[str, Any]]  # of a metrics table

# Okabe and Ito's palette, told apart with any colour vision; in curves, markers and dashes say the same again.
BLUE, VERMILION, GREEN, SKY, ORANGE, PURPLE = "#0072B2", "#D55E00", "#009E73", "#56B4E9", "#E69F00", "#CC79A7"
INK, FAINT = "#22272e", "#8b949e"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
METHOD_LOOKS: dict[str, dict[str, Any]] = {
    "importance": {"color": BLUE, "marker": "o", "linestyle": "-", "linewidth": 2.0},
    "random": {"color": VERMILION, "marker": "s", "linestyle": "--"},
    "random_area": {"color": GREEN, "marker": "^", "linestyle": ":"},
    "random_brightness": {"color": PURPLE, "marker": "D", "linestyle": "-."},
    "token_selection": {"color": BLUE, "marker": "o", "linewidth": 2.0},
    "embedding": {"color": VERMILION, "marker": "s", "linewidth": 2.0},
}
VERDICT_COLOURS = {"better": BLUE, "worse": VERMILION, "no difference found": FAINT}
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e7eb",
    "grid.linewidth": 0.7,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called "$1"
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "svg.hashsalt": "cortex",  # the same values give the same file
}
HEAT = matplotlib.colormaps["viridis"]
HEAT_STRENGTH = 0.65  # of the heat map over the image
TOKEN_BLOCKS = 2  # lists of tokens side by side
WIDTH = 10.0  # inches, of every figure: the width of the page

Args = ParamSpec("Args")
Result = TypeVar("Result")


def styled(function: Callable[Args, Result]) -> Callable[Args, Result]:
    """Run ``function`` under :data:`STYLE`, and leave matplotlib's settings as they were."""

    @functools.wraps(function)
    def wrapper(*args: Args.args, **kwargs: Args.kwargs) -> Result:
        with matplotlib.rc_context(STYLE):
            return function(*args, **kwargs)

    return wrapper


@styled
def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as the kind that ``path`` ends in (svg or png), whole or not at all."""
    kind = path.suffix.removeprefix(".")
    with whole_file(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)


@styled
def training(
    extractors: Mapping[str, Mapping[str, Sequence[float]]], judges: Mapping[str, Mapping[str, Any]]
) -> Figure:
    """Training curves: the extractors' losses and validation accuracy, the judges' held-out accuracy.

    Args:
        extractors: by name, the columns of its history (epoch, train_loss, val_loss, val_top1).
        judges: by name, the columns of its history (epoch, held_out_top1).
    """
    figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
    losses, accuracy, held_out = figure.subplots(1, 3)
    for (name, history), colour in zip(extractors.items(), _series(), strict=False):
        epochs, best = history["epoch"], int(np.argmin(history["val_loss"]))
        losses.plot(epochs, history["train_loss"], color=colour, linewidth=1.0, linestyle=":")
        losses.plot(epochs, history["val_loss"], color=colour, label=name)
        losses.plot(epochs[best], history["val_loss"][best], "o", color=colour)
        accuracy.plot(epochs, history["val_top1"], color=colour, label=name)
        accuracy.plot(epochs[best], history["val_top1"][best], "o", color=colour)
    # Judges have colours of their own: one may be called what an extractor is called.
    for (name, history), colour in zip(judges.items(), islice(_series(), len(extractors), None), strict=False):
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

    Bands are the 95 % intervals of the means.

    Args:
        rows: image-level metrics.
        against: horizontal axis: n, or the masked share of the image's area or brightness.
    """
    figure, panels = _facets(rows)
    for (extractor, judge), axes in panels.items():
        for method in _distinct(rows, "method"):
            curve = sorted(_select(rows, extractor=extractor, judge=judge, method=method), key=lambda row: row["n"])
            look = METHOD_LOOKS.get(method, {})
            places = [row[against] for row in curve]
            change, low, high = ([row[f"probability_change{side}"] for row in curve] for side in ("", "_low", "_high"))
            axes.fill_between(places, low, high, color=look.get("color"), alpha=0.15, linewidth=0)
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
        (frequent,) = _select(rows, extractor=extractor, judge=judge, method="frequency")
        compared = sorted(_select(comparisons, extractor=extractor, judge=judge), key=lambda row: row["setting"])
        for place, row in enumerate(compared):
            colour = VERDICT_COLOURS[row["verdict"]]
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2.0)
            axes.plot(row["difference"], place, "o", color=colour, markersize=6)
            (mine,) = _select(rows, extractor=extractor, judge=judge, method="importance", top_n=row["setting"])
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
    handles = [Line2D([], [], color=colour, marker="o", label=name) for name, colour in VERDICT_COLOURS.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=9)
    return figure


@styled
def codebook_level(rows: Rows) -> Figure:
    """The target's probability before (hollow) and after (solid) the region was replaced, a panel for each judge.

    The bar behind a solid mark is the mean's 95 % interval.

    Args:
        rows: codebook-level metrics.
    """
    extractors, judges, methods = (_distinct(rows, column) for column in ("extractor", "judge", "method"))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.5 * len(extractors)), layout="constrained")
    for axes, judge in zip(figure.subplots(1, len(judges), sharey=True, squeeze=False)[0], judges, strict=True):
        for place, extractor in enumerate(extractors):
            for shift, method in zip(np.linspace(-0.16, 0.16, len(methods)), methods, strict=True):
                for row in _select(rows, extractor=extractor, judge=judge, method=method):
                    look = METHOD_LOOKS.get(method, {"marker": "o"})
                    before, after = row["target_probability_before"], row["target_probability_after"]
                    label = method if place == 0 else None
                    interval = [row["target_probability_after_low"], row["target_probability_after_high"]]
                    bar = {"alpha": 0.3, "linewidth": 7, "solid_capstyle": "butt"}  # ends at the interval's ends
                    axes.plot(interval, [place + shift] * 2, color=look.get("color"), **bar)
                    axes.plot([before, after], [place + shift] * 2, **look | {"marker": "", "linestyle": "-"})
                    axes.plot(before, place + shift, **look | {"markerfacecolor": "white", "linestyle": "none"})
                    axes.plot(after, place + shift, **look | {"linestyle": "none"}, label=label)
        axes.set(title=f"judge {judge}", yticks=range(len(extractors)), yticklabels=extractors, xlim=(0, None))
        axes.set_ylim(len(extractors) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
    figure.supxlabel("probability of the target class, before (hollow) and after", fontsize=9)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right", ncols=len(methods))
    return figure


@styled
def samples(names: Sequence[str], images: Sequence[Sequence[Images]]) -> Figure:
    """Images of every class in a row.

    Args:
        names: of the classes.
        images: of every class, uint8 ``[H, W, 3]`` each.
    """
    return Board(images, [short(name) for name in names]).figure


@styled
def importance(
    images: Sequence[Images],
    names: Sequence[str],
    scores: Mapping[str, Sequence[NDArray[np.floating]]],
    misread: Mapping[str, Sequence[str | None]],
    outlined: int,
) -> Figure:
    """Token importance laid over the images: images in columns, extractors in rows.

    Args:
        images: uint8 ``[H, W, 3]`` each.
        names: of their classes.
        scores: by extractor, a grid of scores ``[h, w]`` an image.
        misread: by extractor, what it takes an image for where that is not the image's class, else None.
        outlined: positions of highest score to outline.
    """
    overlays = [[overlay(*pair) for pair in zip(images, grids, strict=True)] for grids in scores.values()]
    board = Board([images, *overlays], ["image", *scores], text_below=True)
    for column, name in enumerate(names):
        board.write_above(column, short(name))
    for row, (extractor, grids) in enumerate(scores.items(), start=1):
        for column, grid in enumerate(grids):
            size = images[column].shape[0] / grid.shape[0], images[column].shape[1] / grid.shape[1]
            for position in np.argsort(-grid.ravel(), kind="stable")[:outlined]:
                y, x = divmod(int(position), grid.shape[1])
                board.frame(row, column, (y * size[0], x * size[1], *size), VERMILION)
            taken_for = misread[extractor][column]
            if taken_for is not None:
                board.write_below(row, column, f"read as {short(taken_for)}", VERMILION)
    board.scale_below_label(0, HEAT, ("lowest", "highest"))
    return board.figure


def overlay(image: Images, scores: NDArray[np.floating]) -> Images:
    """A heat map of the scores, from the image's lowest to its highest, with the image in it ``[H, W, 3]``."""
    spread = float(scores.max() - scores.min())
    share = (scores - scores.min()) / spread if spread else np.zeros_like(scores)
    cell = np.ones((image.shape[0] // scores.shape[0], image.shape[1] // scores.shape[1]))
    heat = 255 * HEAT(np.kron(share, cell))[:, :, :3]
    return np.round((1 - HEAT_STRENGTH) * image.mean(2, keepdims=True) + HEAT_STRENGTH * heat).astype(np.uint8)


@styled
def tokens(
    names: Sequence[str],
    patches: Mapping[str, Sequence[Sequence[Images | None]]],
    framed: Mapping[str, Sequence[Sequence[bool]]],
) -> Figure:
    """Tokens as patches, a block for each list of tokens, in it a row for each class.

    Args:
        names: of the classes.
        patches: by the block's title, for every class its tokens' patches uint8 ``[P, Q, 3]``, the first first;
            None leaves a place empty.
        framed: by the block's title, for every class which of the tokens to frame.
    """
    width = max(len(row) for rows in patches.values() for row in rows)
    titles = list(patches)
    stacks = [titles[start : start + TOKEN_BLOCKS] for start in range(0, len(titles), TOKEN_BLOCKS)]
    lines: list[list[Images | None]] = []
    for stack in stacks:
        if lines:
            lines.append([])  # room for the titles
        for number in range(len(names)):
            filled = [[*patches[title][number], *[None] * (width + 1 - len(patches[title][number]))] for title in stack]
            lines.append([patch for block in filled for patch in block][:-1])
    labels = [short(name) for name in names]
    board = Board(lines, ([*labels, ""] * len(stacks))[:-1])
    for place, title in enumerate(titles):
        down, across = divmod(place, TOKEN_BLOCKS)
        top, left = down * (len(names) + 1), across * (width + 1)
        board.write_above(left, title, align="left", row=top)
        for number, marks in enumerate(framed[title]):
            for column in np.flatnonzero(marks):
                board.frame(top + number, left + int(column), None, BLUE)
    return board.figure


@styled
def search(
    originals: Sequence[Images],
    titles: Sequence[str],
    edited: Mapping[str, Sequence[tuple[Images, float, float]]],
    region: tuple[float, float, float, float],
) -> Figure:
    """Images before and after the codebook search: images in columns, extractors and methods in rows.

    Args:
        originals: uint8 ``[H, W, 3]`` each.
        titles: one a column, e.g. "one → seven".
        edited: by the row's label, for every column the image and the target's probability before and after.
        region: top, left, height and width of the replaced region, in pixels.
    """
    tiles = [list(originals), *[[image for image, _, _ in row] for row in edited.values()]]
    board = Board(tiles, ["original", *edited], text_below=True)
    for column, title in enumerate(titles):
        board.write_above(column, title)
        for row in range(len(tiles)):
            board.frame(row, column, region, SKY)
    for row, entries in enumerate(edited.values(), start=1):
        for column, (_, before, after) in enumerate(entries):
            board.write_below(
                row, column, f"{probability(before)} → {probability(after)}", INK if after > before else VERMILION
            )
    return board.figure


def probability(value: float) -> str:
    """A probability with two decimals; "<0.01" where they would be 0."""
    return f"{value:.2f}" if value == 0 or value >= 0.005 else "<0.01"


class Board:
    """Rows of equally large images on white, as wide as the page, with room for words.

    Args:
        tiles: rows of images uint8 ``[H, W, 3]``; None, and what a row is shorter than others, stays white.
        labels: one a row, written on its left.
        text_below: leave room for a line of text below every tile.
    """

    LEFT, TOP, LINE = 1.1, 0.3, 0.17  # inches: of the labels, of what is written above, of a line of text
    COLUMNS = 8  # tiles are never larger than with so many

    def __init__(self, tiles: Sequence[Sequence[Images | None]], labels: Sequence[str], *, text_below: bool = False):
        self.height, self.width = next(tile for row in tiles for tile in row if tile is not None).shape[:2]
        columns = max(self.COLUMNS, *map(len, tiles))
        self.gap = math.ceil(self.width / 8)
        across = columns * (self.width + self.gap) - self.gap
        scale = (WIDTH - self.LEFT - 0.05) / across  # inches a pixel
        self.gap_below = math.ceil(self.LINE / scale) + self.gap if text_below else self.gap
        down = len(tiles) * (self.height + self.gap_below)
        size = self.TOP + down * scale
        self.figure = Figure(figsize=(WIDTH, size))
        self.axes = self.figure.add_axes((self.LEFT / WIDTH, 0, across * scale / WIDTH, down * scale / size))
        canvas = np.full((down, across, 3), 255, np.uint8)
        for row, line in enumerate(tiles):
            for column, tile in enumerate(line):
                if tile is not None:
                    top, left = self._corner(row, column)
                    canvas[top : top + self.height, left : left + self.width] = tile
        self.axes.imshow(canvas, extent=(0, across, down, 0), aspect="auto")  # pixel edges at whole numbers
        self.axes.set_axis_off()
        for row, label in enumerate(labels):
            middle = self._corner(row, 0)[0] + self.height / 2
            self.axes.text(-0.1 / scale, middle, label, ha="right", va="center")

    def write_above(self, column: int, text: str, align: Literal["center", "left"] = "center", row: int = 0) -> None:
        """Write above a tile."""
        top, left = self._corner(row, column)
        x = left + self.width / 2 if align == "center" else left
        self.axes.annotate(text, (x, top), xytext=(0, 5), textcoords="offset points", ha=align, annotation_clip=False)

    def scale_below_label(self, row: int, colours: Colormap, ends: tuple[str, str]) -> None:
        """A bar of colours below a row's label, with what its ends stand for."""
        middle = 1 - (self._corner(row, 0)[0] + self.height * 0.8) / (self.axes.get_ylim()[0])
        box = self.axes.get_position()
        bar = self.figure.add_axes((0.02, box.y0 + box.height * middle, box.x0 - 0.03, 0.02))
        bar.imshow(colours(np.linspace(0, 1, 256))[None], aspect="auto", extent=(0, 1, 0, 1))
        bar.set(yticks=[], xticks=[0, 1], xticklabels=ends)
        bar.tick_params(length=0, labelsize=6.5)
        lowest, highest = bar.get_xticklabels()
        lowest.set_horizontalalignment("left")
        highest.set_horizontalalignment("right")
        bar.grid(visible=False)

    def write_below(self, row: int, column: int, text: str, colour: str) -> None:
        """Write below a tile."""
        top, left = self._corner(row, column)
        self.axes.annotate(
            text,
            (left + self.width / 2, top + self.height),
            xytext=(0, -2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=7,
            color=colour,
        )

    def frame(self, row: int, column: int, box: tuple[float, float, float, float] | None, colour: str) -> None:
        """Frame a part of a tile: top, left, height and width in its pixels; None: the tile, from outside."""
        y, x = self._corner(row, column)
        margin = self.gap / 3
        top, left, height, width = box or (-margin, -margin, self.height + 2 * margin, self.width + 2 * margin)
        rectangle = Rectangle((x + left, y + top), width, height, fill=False, edgecolor=colour, linewidth=1.2)
        self.axes.add_patch(rectangle).set_clip_on(False)

    def _corner(self, row: int, column: int) -> tuple[int, int]:
        return row * (self.height + self.gap_below), column * (self.width + self.gap)


def short(name: str) -> str:
    """A class's name where there is little room: its first synonym, cut after 14 letters."""
    first = name.partition(",")[0]
    return first if len(first) <= 14 else first[:13] + "…"


def _series() -> Iterator[str]:
    """Colours of so many series, from the first again after the last."""
    while True:
        yield from SERIES


def _distinct(rows: Rows, column: str) -> list[Any]:
    return list(dict.fromkeys(row[column] for row in rows))


def _select(rows: Rows, **wanted: str | int) -> list[Mapping[str, Any]]:
    return [row for row in rows if all(row[column] == value for column, value in wanted.items())]


def _facets(rows: Rows) -> tuple[Figure, dict[tuple[str, str], Any]]:
    """A panel for each extractor (column) and judge (row); the panels of a judge share their scale."""
    extractors, judges = _distinct(rows, "extractor"), _distinct(rows, "judge")
    figure = Figure(figsize=(WIDTH, 0.7 + 2.3 * len(judges)), layout="constrained")
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

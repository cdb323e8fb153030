"""Images in rows and columns, with words beside them."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cortex.report.figures.style import WIDTH, Images


class ImageGrid:
    """Rows of equally large images on white, as wide as the page, with room for words.

    Args:
        tiles: rows of images uint8 ``[H, W, 3]``; None, and what a row is shorter than others, stays white.
        labels: one a row, written on its left.
        text_below: leave room for a line of text below every tile.
        lines_above: lines of text above the first row.
    """

    LEFT, TOP, LINE = 1.1, 0.3, 0.17  # inches: of the labels, of what is written above, of a line of text
    COLUMNS = 8  # tiles are never larger than with so many

    def __init__(
        self,
        tiles: Sequence[Sequence[Images | None]],
        labels: Sequence[str],
        *,
        text_below: bool = False,
        lines_above: int = 1,
    ):
        self.height, self.width = next(tile for row in tiles for tile in row if tile is not None).shape[:2]
        columns = max(self.COLUMNS, *map(len, tiles))
        self.gap = math.ceil(self.width / 8)
        across = columns * (self.width + self.gap) - self.gap
        scale = (WIDTH - self.LEFT - 0.05) / across  # inches a pixel
        self.gap_below = math.ceil(self.LINE / scale) + self.gap if text_below else self.gap
        down = len(tiles) * (self.height + self.gap_below)
        size = self.TOP + self.LINE * (lines_above - 1) + down * scale
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

    def scale_below_label(self, row: int, colours: Images, ends: tuple[str, str]) -> None:
        """A bar of colours ``[1, N, 3]`` below a row's label, with what its ends stand for."""
        middle = 1 - (self._corner(row, 0)[0] + self.height * 0.8) / (self.axes.get_ylim()[0])
        box = self.axes.get_position()
        bar = self.figure.add_axes((0.02, box.y0 + box.height * middle, box.x0 - 0.03, 0.02))
        bar.imshow(colours, aspect="auto", extent=(0, 1, 0, 1))
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

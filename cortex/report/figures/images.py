"""Figures made of images: samples, importance over images, tokens as patches, edited images."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cortex.report.figures.image_grid import ImageGrid
from cortex.report.figures.style import BLUE, INK, SKY, VERMILION, Images, short, styled

HEAT = matplotlib.colormaps["viridis"]
HEAT_STRENGTH = 0.65  # of the heat map over the image
TOKEN_BLOCKS = 2  # lists of tokens side by side


@styled
def samples(names: Sequence[str], images: Sequence[Sequence[Images]]) -> Figure:
    """Images of every class in a row.

    Args:
        names: of the classes.
        images: of every class, uint8 ``[H, W, 3]`` each.
    """
    return ImageGrid(images, [short(name) for name in names]).figure


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
    shown = ImageGrid([images, *overlays], ["image", *scores], text_below=True)
    for column, name in enumerate(names):
        shown.write_above(column, short(name))
    for row, (extractor, grids) in enumerate(scores.items(), start=1):
        for column, grid in enumerate(grids):
            size = images[column].shape[0] / grid.shape[0], images[column].shape[1] / grid.shape[1]
            for position in np.argsort(-grid.ravel(), kind="stable")[:outlined]:
                y, x = divmod(int(position), grid.shape[1])
                shown.frame(row, column, (y * size[0], x * size[1], *size), VERMILION)
            taken_for = misread[extractor][column]
            if taken_for is not None:
                shown.write_below(row, column, f"read as {short(taken_for)}", VERMILION)
    shown.scale_below_label(0, HEAT, ("lowest", "highest"))
    return shown.figure


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
    shown = ImageGrid(lines, ([*labels, ""] * len(stacks))[:-1])
    for place, title in enumerate(titles):
        down, across = divmod(place, TOKEN_BLOCKS)
        top, left = down * (len(names) + 1), across * (width + 1)
        shown.write_above(left, title, align="left", row=top)
        for number, marks in enumerate(framed[title]):
            for column in np.flatnonzero(marks):
                shown.frame(top + number, left + int(column), None, BLUE)
    return shown.figure


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
    shown = ImageGrid(tiles, ["original", *edited], text_below=True)
    for column, title in enumerate(titles):
        shown.write_above(column, title)
        for row in range(len(tiles)):
            shown.frame(row, column, region, SKY)
    for row, entries in enumerate(edited.values(), start=1):
        for column, (_, before, after) in enumerate(entries):
            shown.write_below(
                row, column, f"{probability(before)} → {probability(after)}", INK if after > before else VERMILION
            )
    return shown.figure


def probability(value: float) -> str:
    """A probability with two decimals; "<0.01" where they would be 0."""
    return f"{value:.2f}" if value == 0 or value >= 0.005 else "<0.01"

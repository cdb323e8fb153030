"""Figures made of images: samples, importance over images, tokens as patches, edited images."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cortex.report.figures.image_grid import ImageGrid
from cortex.report.figures.style import BLUE, INK, SKY, VERMILION, Images, short, styled

AMBER = np.array([255, 176, 0])  # laid over the grey image, the stronger the more important a token is
STRONGEST = 0.75
MIDDLE_GREY = 128.0


@styled
def samples(names: Sequence[str], images: Sequence[Sequence[Images]]) -> Figure:
    """Images of every class in a row.

    Args:
        names: of the classes.
        images: of every class, uint8 ``[H, W, 3]`` each.
    """
    return ImageGrid(images, [short(name) for name in names]).figure


@styled
def reconstruction(
    names: Sequence[str], images: Sequence[Sequence[Images]], decoded: Sequence[Sequence[Images]]
) -> Figure:
    """Pictures of every class in a row, and below them their decoded tokens.

    Args:
        names: of the classes.
        images: of every class, uint8 ``[H, W, 3]`` each.
        decoded: of the same pictures.
    """
    rows = [row for pair in zip(images, decoded, strict=True) for row in pair]
    return ImageGrid(rows, [label for name in names for label in (short(name), "decoded")]).figure


@styled
def importance(
    images: Sequence[Images],
    names: Sequence[str],
    scores: Mapping[str, Sequence[NDArray[np.floating]]],
    misread: Mapping[str, Sequence[str | None]],
    outlined: Mapping[str, Sequence[NDArray[np.floating]]],
) -> Figure:
    """Token importance laid over the images: images in columns, extractors in rows.

    Args:
        images: uint8 ``[H, W, 3]`` each.
        names: of their classes.
        scores: by extractor, a grid of scores ``[h, w]`` an image.
        misread: by extractor, what it takes an image for where that is not the image's class, else None.
        outlined: by extractor, top, left, height and width of the boxes to outline ``[n, 4]`` an image.
    """
    overlays = [[overlay(*pair) for pair in zip(images, grids, strict=True)] for grids in scores.values()]
    shown = ImageGrid([images, *overlays], ["image", *scores], text_below=True)
    for column, name in enumerate(names):
        shown.write_above(column, short(name))
    for row, extractor in enumerate(scores, start=1):
        for column in range(len(images)):
            for top, left, tall, wide in outlined[extractor][column].tolist():
                shown.frame(row, column, (top, left, tall, wide), BLUE)
            taken_for = misread[extractor][column]
            if taken_for is not None:
                shown.write_below(row, column, f"assigned: {short(taken_for)}", VERMILION)
    shares = np.linspace(0, 1, 256)[None, :, None]
    shown.scale_below_label(0, tint(np.full_like(shares, MIDDLE_GREY), shares), ("lowest", "highest"))
    return shown.figure


def overlay(image: Images, scores: NDArray[np.floating]) -> Images:
    """The image in grey, tinted by the scores from the image's lowest to its highest ``[H, W, 3]``."""
    spread = float(scores.max() - scores.min())
    share = (scores - scores.min()) / spread if spread else np.zeros_like(scores)
    cell = np.ones((image.shape[0] // scores.shape[0], image.shape[1] // scores.shape[1]))
    return tint(image.mean(2, keepdims=True), np.kron(share, cell)[:, :, None])


def tint(grey: NDArray[np.floating], share: NDArray[np.floating]) -> Images:
    """Grey values ``[..., 1]`` 0..255, lifted from black and tinted by shares 0..1 of the same shape."""
    strength = STRONGEST * share
    return np.round((1 - strength) * (40 + 0.75 * grey) + strength * AMBER).astype(np.uint8)


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
        titles: one a column, e.g. "one →\nseven".
        edited: by the row's label, for every column the image and the target's probability before and after.
        region: top, left, height and width of the replaced region, in pixels.
    """
    tiles = [list(originals), *[[image for image, _, _ in row] for row in edited.values()]]
    lines = max(title.count("\n") + 1 for title in titles)
    shown = ImageGrid(tiles, ["original", *edited], text_below=True, lines_above=lines)
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

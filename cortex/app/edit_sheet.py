"""An edit in one picture: what came in, its tokens, before and after, enlarged; and what to be warned of."""

from collections.abc import Iterator, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cortex.evaluate.reconstruction import errors_of, fits
from cortex.explain.settings import Region
from cortex.report.figures.style import BLUE, INK, VERMILION, WIDTH, Images, styled

PART = 10_000  # train images whose tokens are looked up at a time
RARE = 0.01  # share of the train images that may have rarer tokens than a picture that is like them


@styled
def draw_sheet(
    pictures: Mapping[str, Images], grids: Mapping[str, NDArray[np.integer]], region: Region, titles: Mapping[str, str]
) -> Figure:
    """Pictures in a row, and below them the token numbers, of which changed ones are coloured. The region is framed.

    Args:
        pictures: ``picture``, ``before`` and ``after``, uint8 ``[H, W, 3]`` of one size.
        grids: tokens ``before`` and ``after``, ``[h, w]``.
        region: in tokens.
        titles: by picture.
    """
    height, width = pictures["before"].shape[:2]
    rows, columns = grids["before"].shape
    figure = Figure(figsize=(WIDTH, 2 * WIDTH / 3 * height / width + 0.8), layout="constrained")
    axes = figure.subplots(2, 3)
    scale = height / rows, width / columns
    for place, (name, image) in enumerate(pictures.items()):
        axes[0, place].imshow(image, interpolation="nearest")
        axes[0, place].set_title(titles[name])
        _frame(axes[0, place], region, scale)
    axes[1, 0].set_axis_off()
    for place, (name, grid) in enumerate(grids.items(), start=1):
        shown = axes[1, place]
        shown.imshow(
            np.full((rows, columns, 3), 255, np.uint8), extent=(0, columns, rows, 0), aspect=scale[0] / scale[1]
        )
        size = min(9.0, 110 / max(rows, columns))
        for (y, x), token in np.ndenumerate(grid):
            changed = grid[y, x] != grids["before"][y, x]
            colour, weight = (VERMILION, "bold") if changed else (INK, "normal")
            shown.text(x + 0.5, y + 0.5, str(token), ha="center", va="center", size=size, color=colour, weight=weight)
        shown.set_title(f"tokens {name}")
        _frame(shown, region, (1, 1))
    for each in axes.flat:
        each.set_xticks([])
        each.set_yticks([])
        each.grid(visible=False)
    return figure


def warnings_of(
    pictures: Mapping[str, Images], grids: Mapping[str, NDArray[np.integer]], train: NDArray[np.integer], codes: int
) -> Iterator[str]:
    """What a reader of the result should be warned of, in sentences.

    Args:
        pictures: ``picture``, ``before`` and ``after``, uint8 ``[H, W, 3]`` of one size.
        grids: tokens ``before`` and ``after``, ``[h, w]``.
        train: grids ``[N, h, w]`` of the train images.
        codes: of the codebook.
    """
    error, plain = errors_of(pictures["picture"][None], pictures["before"][None])[:, 0].tolist()
    if not fits(error, plain):
        yield (
            f"the codebook does not fit the picture: its decoded tokens differ from it by {error:.2f}, "
            f"one plain colour by {plain:.2f} (of -1..1)"
        )
    parts = [train[start : start + PART] for start in range(0, len(train), PART)]
    counts = np.sum([np.bincount(part.ravel(), minlength=codes) for part in parts], axis=0)
    frequency = np.log((counts + 1) / (counts.sum() + codes))  # of a code, one occurrence added to each
    own = frequency[grids["before"]].mean()
    others = np.concatenate([frequency[part].mean((1, 2)) for part in parts])
    if (others < own).mean() < RARE:
        yield (
            "the picture is unlike the images that the extractor was trained on: "
            f"{100 * (1 - (others < own).mean()):.0f} % of them have more frequent tokens"
        )
    if np.array_equal(grids["after"], grids["before"]):
        yield "the edit changed no token: no tokens raised the extractor's logit of the target"
    elif np.array_equal(pictures["after"], pictures["before"]):
        yield "the edit changed tokens, but no pixel"


def _frame(axes: Axes, region: Region, scale: tuple[float, float]) -> None:
    corner = region.left * scale[1] - 0.5 * (scale[0] > 1), region.top * scale[0] - 0.5 * (scale[0] > 1)
    size = region.width * scale[1], region.height * scale[0]
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BLUE, linewidth=2))

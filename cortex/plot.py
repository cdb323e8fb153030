"""Figures for a notebook: images with their importance, patches of tokens."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray


class _Shown(Figure):
    """A figure that a notebook shows by itself, without pyplot."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()


def importance(
    images: NDArray[np.uint8], scores: NDArray[np.floating], shape: tuple[int, int], titles: Sequence[str] = ()
) -> Figure:
    """Images beside their token importance.

    Args:
        images: uint8 ``[N, H, W, 3]``.
        scores: ``[N, P]``, a score a position, row-major.
        shape: (h, w) of the grid, P = h·w.
        titles: one an image.
    """
    figure = _Shown(figsize=(1.6 * len(images), 3.4), layout="constrained")
    axes = figure.subplots(2, len(images), squeeze=False)
    for column, (image, values) in enumerate(zip(images, scores, strict=True)):
        axes[0, column].imshow(image)
        axes[1, column].imshow(image, alpha=0.4)
        height, width = image.shape[:2]
        heat = np.asarray(values, float).reshape(shape)
        axes[1, column].imshow(heat, cmap="viridis", alpha=0.65, extent=(-0.5, width - 0.5, height - 0.5, -0.5))
        if titles:
            axes[0, column].set_title(titles[column], fontsize=9)
        for row in (0, 1):
            axes[row, column].set_axis_off()
    return figure


def tokens(images: NDArray[np.uint8], grids: NDArray[np.integer], codes: Sequence[int], patches: int = 6) -> Figure:
    """Patches of tokens: where each code stands in the images, its first patches.

    Args:
        images: uint8 ``[N, H, W, 3]``.
        grids: token grids ``[N, h, w]`` of these images.
        codes: the tokens to show, a row each.
        patches: patches of a token.
    """
    height, width = images.shape[1] // grids.shape[1], images.shape[2] // grids.shape[2]
    figure = _Shown(figsize=(0.8 * (patches + 1), 0.8 * len(codes)), layout="constrained")
    axes = figure.subplots(len(codes), patches, squeeze=False)
    for row, code in enumerate(codes):
        places = np.argwhere(grids == code)[:patches]
        for column in range(patches):
            axes[row, column].set_axis_off()
            if column < len(places):
                image, top, left = places[column] * (1, height, width)
                axes[row, column].imshow(images[image, top : top + height, left : left + width])
        axes[row, 0].set_title(f"token {code}", fontsize=8, loc="left")
    return figure

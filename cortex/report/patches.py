"""Tokens as patches: for each, the most typical of the patches that the decoder made of it."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cortex.data.layout import Layout
from cortex.data.patches import patches_of
from cortex.data.shard_reader import Sample
from cortex.report.figures.style import Images

Patches = NDArray[np.int64]
SIDE = 32  # pixels of a patch where tokens have several scales


def typical_patches(
    samples: Callable[[], Iterable[Sample]], tokens: Iterable[int], scales: tuple[int, ...] = ()
) -> dict[int, Images]:
    """By token, the patch uint8 ``[P, Q, 3]`` that is closest to the mean of its patches; no entry if there are none.

    A patch is the part of an image at a position that holds the token. A token decoded without its context, such as a
    grid filled with it, shows little: the decoder looks at the neighbours, and never saw such grids.

    Args:
        samples: gives the images, the same ones each time; they are read twice.
        tokens: the tokens to find.
        scales: rows and columns of every scale; empty: tokens have one. Patches of scales are resized to one size.
    """
    wanted = sorted(set(tokens))
    place = np.full(1 << 16, -1)
    place[wanted] = np.arange(len(wanted))
    counts = np.zeros(len(wanted), np.int64)
    totals: Patches | None = None
    for places, patches in _occurrences(samples(), place, scales):
        totals = np.zeros((len(wanted), *patches.shape[1:]), np.int64) if totals is None else totals
        np.add.at(totals, places, patches)
        np.add.at(counts, places, 1)
    if totals is None:
        return {}
    means = totals / np.maximum(counts, 1)[:, None, None, None]
    best: dict[int, tuple[float, Images]] = {}
    for places, patches in _occurrences(samples(), place, scales):
        distances = ((patches - means[places]) ** 2).sum((1, 2, 3))
        for number, distance, patch in zip(places.tolist(), distances.tolist(), patches, strict=True):
            if number not in best or distance < best[number][0]:
                best[number] = distance, patch.astype(np.uint8)
    return {wanted[number]: patch for number, (_, patch) in sorted(best.items())}


def _occurrences(
    samples: Iterable[Sample], place: NDArray[np.int64], scales: tuple[int, ...]
) -> Iterator[tuple[NDArray[np.int64], Patches]]:
    """Of every image, the places of its wanted tokens ``[n]`` and their patches ``[n, P, Q, 3]``."""
    for sample in samples:
        if sample.image is None:
            continue
        places = place[sample.grid.ravel()]
        wanted = np.flatnonzero(places >= 0)
        if scales:
            layout = Layout((sample.grid.shape[0], sample.grid.shape[1]), scales)
            patches = _patches_of_scales(sample.image, layout, wanted)
        else:
            patches = patches_of(sample.image[None], sample.grid.shape)[0][wanted]
        yield places[wanted], patches.astype(np.int64)


def _patches_of_scales(image: Images, layout: Layout, positions: NDArray[np.int64]) -> Images:
    """The patches of some positions, ``[n, SIDE, SIDE, 3]``."""
    boxes = layout.boxes((image.shape[0], image.shape[1]))[positions]
    corners = np.concatenate([boxes[:, 1::-1], boxes[:, 1::-1] + boxes[:, :1:-1]], axis=1).tolist()
    whole, size = Image.fromarray(image), (SIDE, SIDE)
    found = [np.asarray(whole.resize(size, Image.Resampling.BOX, tuple(corner))) for corner in corners]
    return np.stack(found) if found else np.empty((0, SIDE, SIDE, 3), np.uint8)

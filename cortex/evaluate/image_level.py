"""Image level: mask the codes at an image's most important positions, against random ones (METHOD.md, section 6)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import write_table
from cortex.data.decoded import decoded_of
from cortex.evaluate.masking import MEASURES, brightness, code_ranks, judge_masks
from cortex.explain.explained import ranks, read_explained
from cortex.judges.judge import load_judge

METHODS = ("importance", "random", "random_area", "random_brightness")
SCHEMA = pa.schema(
    [("key", pa.string()), ("label", pa.int32()), ("method", pa.string()), ("n", pa.int32())]
    + [(name, pa.float32()) for name in MEASURES]
)


def image_masks(
    grids: NDArray[np.integer],
    importance: NDArray[np.floating],
    random: NDArray[np.floating],
    bright: NDArray[np.floating],
    n: list[int],
    codes: int,
) -> NDArray[np.bool_]:
    """The masks of all methods and n: bool ``[4, len(n), N, P]``, methods in the order of :data:`METHODS`.

    ``importance`` masks every position whose code is among the codes at the top-n positions, ``random`` the same
    for n random positions, ``random_area`` as many random positions as ``importance`` masks, whatever their codes,
    ``random_brightness`` as many as come closest to hiding as much of the image's brightness as it does.

    Args:
        grids: tokens ``[N, P]``.
        importance: scores ``[N, P]``.
        random: numbers ``[N, P]``; each image's order of them is its random order of positions.
        bright: share of the image's brightness that every position shows ``[N, P]``.
        n: how many positions' codes.
        codes: codes in the codebook.
    """
    sizes = np.array(n)[:, None, None]
    random_ranks = ranks(random)
    important = code_ranks(grids, ranks(importance), codes) < sizes
    at_random = code_ranks(grids, random_ranks, codes) < sizes
    same_area = random_ranks < important.sum(2, keepdims=True)
    hidden = np.zeros((len(grids), grids.shape[1] + 1))  # by the first 0, 1, …, P positions in random order
    np.cumsum(np.take_along_axis(bright, random_ranks.argsort(1), 1), axis=1, out=hidden[:, 1:])
    by_importance = np.einsum("mnp,np->mn", important, bright)
    closest = np.stack([np.abs(hidden - wanted[:, None]).argmin(1) for wanted in by_importance])
    same_brightness = random_ranks < closest[:, :, None]
    return np.stack([important, at_random, same_area, same_brightness])


def judge_images(
    output: Path,
    shard: Path,
    images: Path,
    importance: Path,
    judge: Path,
    *,
    codes: int,
    n: list[int],
    batch: int = 100,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Ask a judge how much less of an image's class is left when its most important tokens are painted black.

    Args:
        output: Parquet to write, a row an image, method (importance, random, random_area, random_brightness) and n:
            key, label, method, n, masked_fraction and masked_brightness (0..1), probability and logit of the label in
            the masked image, and their changes against the unmasked one.
        shard: WebDataset tar of the test split.
        images: its decoded images.
        importance: its importance file.
        judge: weights of a judge.
        codes: codes in the codebook.
        n: how many positions' codes to mask; one result for each.
        batch: images that the judge sees at once.
        seed: of the random positions; an image's are a function of it and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    explained = read_explained(shard, importance)
    pictures = decoded_of(shard, len(explained.keys), images)
    random = uniforms(key_seeds(seed, "random positions", explained.keys), explained.grids.shape[1])
    bright = brightness(pictures, explained.grid_shape)
    masks = image_masks(explained.grids, explained.importance, random, bright, n, codes)
    verdict = judge_masks(
        load_judge(judge, choose_device(device)),
        pictures,
        explained.labels,
        masks.reshape(-1, *masks.shape[2:]),
        explained.grid_shape,
        batch,
    )
    count, combinations = len(explained.keys), len(METHODS) * len(n)
    table = pa.table(
        {
            "key": explained.keys * combinations,
            "label": np.tile(explained.labels, combinations),
            "method": np.repeat(METHODS, len(n) * count),
            "n": np.tile(np.repeat(n, count), len(METHODS)),
            **{measure: getattr(verdict, measure).ravel() for measure in MEASURES},
        }
    )
    write_table(output, table.cast(SCHEMA))

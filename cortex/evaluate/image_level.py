"""Image level: mask the codes at an image's most important positions, against random ones (METHOD.md, section 6)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import write_table
from cortex.data.decoded import decoded_of
from cortex.data.tokens import read_tokens
from cortex.evaluate.masking import MEASURES, brightness, code_ranks, judge_masks
from cortex.explain import IMPORTANCE
from cortex.explain.ranks import ranks
from cortex.judges.judge import load_judge

METHODS = (IMPORTANCE, "random", "random_area", "random_brightness")
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
    scale_of: NDArray[np.integer],
) -> NDArray[np.bool_]:
    """The masks of all methods and n: bool ``[4, len(n), N, P]``, methods in the order of :data:`METHODS`.

    - ``importance`` masks every position whose code is among the codes at the top-n positions.
    - ``random`` masks the same for n random positions.
    - ``random_area`` masks as many random positions of every scale as ``importance``, whatever their codes.
    - ``random_brightness`` masks as many random positions as come closest to the brightness that ``importance`` hides.

    Args:
        grids: tokens ``[N, P]``.
        importance: scores ``[N, P]``.
        random: numbers ``[N, P]``; an image's random order of positions is the order of its numbers, highest first.
        bright: share of the image's brightness at every position, ``[N, P]``.
        n: numbers of positions.
        codes: codes in the codebook.
        scale_of: scale of every position, ``[P]``.
    """
    sizes = np.array(n)[:, None, None]
    random_ranks = ranks(random)
    important = code_ranks(grids, ranks(importance), codes) < sizes
    at_random = code_ranks(grids, random_ranks, codes) < sizes
    same_area = np.zeros_like(important)
    for scale in np.unique(scale_of):
        of_scale = scale_of == scale
        same_area[..., of_scale] = ranks(random[:, of_scale]) < important[..., of_scale].sum(2, keepdims=True)
    hidden = np.zeros((len(grids), grids.shape[1] + 1))  # brightness of the first 0, 1, …, P random positions
    np.cumsum(np.take_along_axis(bright, random_ranks.argsort(1), 1), axis=1, out=hidden[:, 1:])
    by_importance = np.einsum("mnp,np->mn", important, bright)
    closest = np.stack([np.abs(hidden - wanted[:, None]).argmin(1) for wanted in by_importance])
    same_brightness = random_ranks < closest[:, :, None]
    return np.stack([important, at_random, same_area, same_brightness])


def judge_images(
    output: Path,
    scores: Path,
    images: Path,
    judge: Path,
    *,
    codes: int,
    n: list[int],
    batch: int,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure how a judge's logit and probability of the label change when the most important tokens are painted black.

    Args:
        output: Parquet to write, a row an image, method and n: key, label, method (importance, random, random_area,
            random_brightness), n (positions whose codes are masked), and the measures of the masked image:
            probability, probability_change, logit, logit_change,
            masked_fraction, masked_brightness.
        scores: importance file of the test split.
        images: decoded images of the same split.
        judge: weights of a judge.
        codes: codes in the codebook.
        n: positions whose codes are masked; a result for each.
        batch: images that the judge sees at once.
        seed: seed of the random positions. The positions of an image are a function of the seed and the image's key.
        device: auto, cpu, cuda or cuda:N.
    """
    explained = read_tokens(scores, [IMPORTANCE], codes=codes)
    pictures = decoded_of(explained, images)
    random = uniforms(key_seeds(seed, "random positions", explained.keys), explained.tokens.shape[1])
    layout = explained.layout
    fine = layout.maskable
    every = np.zeros((len(METHODS) * len(n), *explained.tokens.shape), bool)
    every[..., fine] = image_masks(
        explained.tokens[:, fine],
        explained.scores[IMPORTANCE][:, fine],
        random[:, fine],
        brightness(pictures, layout)[:, fine],
        n,
        codes,
        layout.scale_of[fine],
    ).reshape(-1, len(explained), len(fine))
    panelist = load_judge(judge, choose_device(device))
    verdict = judge_masks(panelist, pictures, explained.labels, every, layout, batch)
    count, combinations = len(explained), len(METHODS) * len(n)
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

"""Paint token positions black and measure how a judge's reading of the label changes (METHOD.md, section 6)."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cortex.data.layout import Layout
from cortex.judges.judge import Judge


def code_ranks(grids: NDArray[np.integer], position_ranks: NDArray[np.integer], codes: int) -> NDArray[np.int64]:
    """Rank of every position's *code*: the best rank of any position that holds it, ``[N, P]``.

    A position's code is among the codes at the top-n positions exactly where its code rank is below n, so one table
    gives the masks of every n.

    Args:
        grids: tokens ``[N, P]``.
        position_ranks: rank of every position, 0 the best, ``[N, P]``.
        codes: codes in the codebook, K.
    """
    best = np.full((len(grids), codes), grids.shape[1])
    image = np.arange(len(grids))[:, None]
    np.minimum.at(best, (image, grids), position_ranks)
    return best[image, grids]


def hidden_pixels(masks: Tensor, layout: Layout, size: tuple[int, int]) -> Tensor:
    """Pixels bool ``[B, H, W]`` of images of (H, W) that a masked position covers, of masks bool ``[B, P]``."""
    cells = torch.from_numpy(layout.cells(size)).to(masks.device)
    return masks[:, cells].any(1)


def paint_black(images: Tensor, masks: Tensor, layout: Layout) -> Tensor:
    """Images uint8 ``[B, H, W, 3]``, black wherever a position that covers the pixel is masked.

    Args:
        images: ``[B, H, W, 3]``.
        masks: bool ``[B, P]``.
        layout: of the positions.
    """
    if layout.scales:
        return images.masked_fill(hidden_pixels(masks, layout, (images.shape[1], images.shape[2]))[..., None], 0)
    height, width = layout.shape
    mask = masks.view(-1, height, 1, width, 1, 1)
    blocks = images.view(-1, height, images.shape[1] // height, width, images.shape[2] // width, 3)
    return blocks.masked_fill(mask, 0).view(images.shape)


def brightness(images: NDArray[np.uint8], layout: Layout) -> NDArray[np.float64]:
    """Share of an image's brightness at every position, ``[N, P]``: the share that painting it black hides.

    The positions of a scale sum to 1; those of an image that is all black are 0.

    Args:
        images: uint8 ``[N, H, W, 3]``.
        layout: of the positions.
    """
    if layout.scales:
        cells, positions = layout.cells((images.shape[1], images.shape[2])), len(layout.scale_of)
        light = images.sum(3, dtype=np.float64)
        shown = np.stack([np.bincount(cells.ravel(), np.tile(each.ravel(), len(cells)), positions) for each in light])
        return shown / np.maximum(light.sum((1, 2))[:, None], 1)
    (height, width), side = layout.shape, images.shape[1:3]
    blocks = images.reshape(len(images), height, side[0] // height, width, side[1] // width, 3)
    shown = blocks.sum((2, 4, 5), dtype=np.float64).reshape(len(images), -1)
    return shown / np.maximum(shown.sum(1, keepdims=True), 1)


@dataclass(frozen=True)
class Verdict:
    """A judge's reading of the label of every image under each of M masks; every field is float32 ``[M, N]``.

    Args:
        probability: of the label in the masked image, 0..1.
        probability_change: masked minus unmasked; negative where the mask hid the concept.
        logit: of the label in the masked image.
        logit_change: masked minus unmasked.
        masked_fraction: share of the image that the mask covers, 0..1.
        masked_brightness: share of the image's brightness that the mask hides, 0..1.
    """

    probability: NDArray[np.float32]
    probability_change: NDArray[np.float32]
    logit: NDArray[np.float32]
    logit_change: NDArray[np.float32]
    masked_fraction: NDArray[np.float32]
    masked_brightness: NDArray[np.float32]


MEASURES = tuple(field.name for field in fields(Verdict))


def judge_masks(
    judge: Judge,
    images: NDArray[np.uint8],
    labels: NDArray[np.integer],
    masks: NDArray[np.bool_],
    layout: Layout,
    batch: int,
) -> Verdict:
    """Measure a judge's reading of images under masks.

    Args:
        judge: the judge.
        images: uint8 ``[N, H, W, 3]``.
        labels: ``[N]``.
        masks: bool ``[M, N, P]``.
        layout: of the positions.
        batch: images that the judge sees at once.
    """
    truth = torch.from_numpy(labels.astype(np.int64)).to(judge.device)
    pictures = torch.from_numpy(images)
    # The unmasked image first, as one more mask that hides nothing.
    hidden = torch.from_numpy(np.concatenate([np.zeros_like(masks[:1]), masks]))
    probability = torch.empty(len(hidden), len(images))
    logit = torch.empty_like(probability)
    for start in range(0, len(images), batch):
        rows = slice(start, start + batch)
        shown = pictures[rows].to(judge.device)
        of_label = truth[rows, None]
        for index, mask in enumerate(hidden[:, rows]):
            logits = judge.logits(paint_black(shown, mask.to(judge.device), layout))
            logit[index, rows] = logits.gather(1, of_label)[:, 0].cpu()
            probability[index, rows] = logits.softmax(1).gather(1, of_label)[:, 0].cpu()
    fraction, share = _covered(images, masks, layout)
    return Verdict(
        probability=probability[1:].numpy(),
        probability_change=(probability[1:] - probability[:1]).numpy(),
        logit=logit[1:].numpy(),
        logit_change=(logit[1:] - logit[:1]).numpy(),
        masked_fraction=fraction,
        masked_brightness=share,
    )


def _covered(
    images: NDArray[np.uint8], masks: NDArray[np.bool_], layout: Layout
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Shares ``[M, N]`` of the images and of their brightness that masks ``[M, N, P]`` cover."""
    if not layout.scales:
        bright = np.einsum("mnp,np->mn", masks, brightness(images, layout)).astype(np.float32)
        return masks.mean(2, dtype=np.float32), bright
    fraction, share = np.empty((2, *masks.shape[:2]), np.float32)
    for place, image in enumerate(images):
        hidden = hidden_pixels(torch.from_numpy(masks[:, place]), layout, (image.shape[0], image.shape[1])).numpy()
        light = image.sum(2, dtype=np.float64)
        fraction[:, place], share[:, place] = hidden.mean((1, 2)), (hidden * light).sum((1, 2)) / max(light.sum(), 1)
    return fraction, share

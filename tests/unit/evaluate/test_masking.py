"""Masking (METHOD.md, section 6): ranks and verdicts by hand."""

import numpy as np
import pytest
import torch

from cortex.data.layout import Layout
from cortex.evaluate.masking import brightness, code_ranks, judge_masks
from cortex.judges.judge import Judge
from tests.unit.evaluate.by_hand import CODES, CPU


def test_code_ranks_by_hand():
    assert code_ranks(np.array([[4, 2, 4, 1]]), np.array([[3, 1, 0, 2]]), CODES).tolist() == [[0, 1, 0, 2]]


class MeanJudge(torch.nn.Module):
    """Logits that a person can compute: the mean of every colour channel."""

    def forward(self, images):
        return images.mean((2, 3))


def test_verdict_by_hand(rng):
    images = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    labels, masks = np.array([0, 2, 1]), np.zeros((2, 3, 4), bool)
    masks[1, :, 1] = True  # the top right quarter
    verdict = judge_masks(Judge(MeanJudge(), CPU), images, labels, masks, Layout((2, 2)), batch=2)
    for image, label in enumerate(labels):
        shown = images[image].astype(float) / 127.5 - 1
        before = shown.mean((0, 1))
        shown[:4, 4:] = -1
        after = shown.mean((0, 1))
        probability = np.exp(after[label]) / np.exp(after).sum()
        unmasked = np.exp(before[label]) / np.exp(before).sum()
        assert verdict.logit[1, image] == pytest.approx(after[label], abs=1e-5)
        assert verdict.logit_change[1, image] == pytest.approx(after[label] - before[label], abs=1e-5)
        assert verdict.probability[1, image] == pytest.approx(probability, abs=1e-5)
        assert verdict.probability_change[1, image] == pytest.approx(probability - unmasked, abs=1e-5)
    assert np.allclose(verdict.probability_change[0], 0)
    assert verdict.masked_fraction.tolist() == [[0, 0, 0], [0.25, 0.25, 0.25]]
    corner = images[:, :4, 4:].sum((1, 2, 3)) / images.sum((1, 2, 3))
    np.testing.assert_allclose(verdict.masked_brightness, [[0, 0, 0], corner], rtol=1e-6)


def test_black_on_black_hides_nothing():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1, 5, 6] = (10, 20, 30)  # in the last of four positions
    assert brightness(images, Layout((2, 2))).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


def test_masks_of_scales_paint_boxes(rng):
    """The union of boxes, pixel by pixel; shares of the image and of its brightness are those of the union."""
    layout = Layout((1, 46), (1, 2, 4, 5))
    images = rng.integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
    masks = np.zeros((2, 2, 46), bool)
    masks[0, 0, [5, 21, 22]] = masks[1, 1, 3] = True
    verdict = judge_masks(Judge(MeanJudge(), CPU), images, np.array([0, 1]), masks, layout, batch=1)
    starts = [0, 1, 5, 21]
    for which in range(2):
        for image in range(2):
            hidden = np.zeros((12, 12), bool)
            for y in range(12):
                for x in range(12):
                    for side, start in zip(layout.scales, starts, strict=True):
                        cell = start + int((y + 0.5) / 12 * side) * side + int((x + 0.5) / 12 * side)
                        hidden[y, x] |= masks[which, image, cell]
            shown = images[image].astype(float) / 127.5 - 1
            shown[hidden] = -1
            assert verdict.logit[which, image] == pytest.approx(shown.mean((0, 1))[image], abs=1e-5)
            assert verdict.masked_fraction[which, image] == pytest.approx(hidden.mean())
            bright = images[image][hidden].sum() / images[image].sum()
            assert verdict.masked_brightness[which, image] == pytest.approx(bright, rel=1e-6)
    assert 0 < verdict.masked_fraction[0, 0] < verdict.masked_fraction[1, 1] == 0.25


def test_brightness_of_scales_is_that_of_boxes(rng):
    layout = Layout((1, 30), (2, 1, 5))
    images = rng.integers(0, 256, (3, 10, 10, 3)).astype(np.uint8)
    found = brightness(images, layout)
    assert found[:, :4].sum(1) == pytest.approx(1) and found[:, 4] == pytest.approx(1)
    assert found[:, 1] == pytest.approx(images[:, :5, 5:].sum((1, 2, 3)) / images.sum((1, 2, 3)))
    assert found[:, 5 + 7] == pytest.approx(images[:, 2:4, 4:6].sum((1, 2, 3)) / images.sum((1, 2, 3)))

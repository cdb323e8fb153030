"""Masks of equal area, by hand: two masks are mixed so that every training hides the same area."""

import numpy as np
import pytest

from cortex.compare.values import Masks, mixture


def test_two_neighbouring_masks_make_an_area():
    weights = mixture(np.array([0.0, 0.1, 0.4]), [0.05, 0.1, 0.25, 0.4])
    assert weights == pytest.approx(np.array([[0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]))


def masks():
    """Two images; masks of training 0 hide 20 and 60 % on average, those of training 1 10 and 50 %."""
    areas = {0: [[0, 0], [0.1, 0.3], [0.5, 0.7]], 1: [[0, 0], [0.1, 0.1], [0.4, 0.6]]}
    important = {0: [[0, 0], [-0.2, -0.4], [-0.6, -0.8]], 1: [[0, 0], [-0.1, -0.1], [-0.5, -0.3]]}
    at_random = {0: [[0, 0], [-0.1, -0.1], [-0.3, -0.3]], 1: [[0, 0], [0.0, -0.2], [-0.2, -0.2]]}
    changes = {training: np.array([important[training], at_random[training]]) for training in areas}
    return Masks(np.array([4, 5]), changes, {training: np.array(of) for training, of in areas.items()})


def test_curves_meet_the_same_mean_area_in_every_training():
    found = masks().at([0.1, 0.4]).by_training
    # Training 0: 10 % is half of its first mask, 40 % the middle of both. Training 1: its first mask, and ¼ and ¾.
    assert found[0] == pytest.approx(
        np.array([[-0.1, -0.2], [-0.4, -0.6], [-0.05, -0.05], [-0.2, -0.2], [-0.05, -0.15], [-0.2, -0.4]])
    )
    assert found[1] == pytest.approx(
        np.array([[-0.1, -0.1], [-0.4, -0.25], [0, -0.2], [-0.15, -0.2], [-0.1, 0.1], [-0.25, -0.05]])
    )
    assert masks().excess([0.1, 0.4]) == pytest.approx(np.stack([found[0][4:], found[1][4:]]))


def test_curves_end_where_the_largest_masks_of_a_training_end():
    assert masks().reached() == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert masks().of([5]).reached() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    assert masks().of([5]).labels.tolist() == [5]

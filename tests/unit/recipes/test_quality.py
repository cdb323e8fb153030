import numpy as np
import pytest
from scipy import linalg

from cortex.recipes.quality import contact_sheet, frechet_distance


def test_frechet_distance_is_that_of_the_definition():
    random = np.random.default_rng(0)
    mix = random.normal(size=(6, 6))
    ours, theirs = random.normal(size=(400, 6)) @ mix, random.normal(size=(300, 6)) + 0.5
    first, second = np.cov(ours.T), np.cov(theirs.T)
    root = linalg.sqrtm(first @ second).real
    expected = ((ours.mean(0) - theirs.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet_distance(ours, theirs) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_by_hand():
    """Two axes, uncorrelated: squared distance of the means plus squared differences of standard deviations."""
    corners = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    spread = np.sqrt(4 / 3)  # sample standard deviation of ±1
    expected = 3**2 + (spread * 2 - spread) ** 2 + (spread * 5 - spread) ** 2
    assert frechet_distance(corners, corners * [2, 5] + [3, 0]) == pytest.approx(expected)
    assert frechet_distance(corners, corners) == pytest.approx(0, abs=1e-12)


def test_a_sheet_has_a_row_a_class_and_the_sets_side_by_side():
    """Pictures of 4×4 pixels, each of one colour; a gap is a quarter of a picture, and missing pictures stay white."""
    colours = np.arange(5, dtype=np.uint8)
    pictures = np.broadcast_to(colours[:, None, None, None], (5, 4, 4, 3)).copy()
    first, second = np.array([1, 0, 1, 1, 0]), np.array([0, 0, 0, 0, 1])
    sheet = contact_sheet([(pictures, first), (pictures + 10, second)], columns=2)
    assert sheet.shape == (8, 8 + 1 + 8, 3)
    assert sheet[::4, ::4, 0][:, :2].tolist() == [[1, 4], [0, 2]]
    assert (sheet[:, 8] == 255).all()
    assert sheet[::4, 9::4, 0].tolist() == [[10, 11], [14, 255]]

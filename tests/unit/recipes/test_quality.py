import numpy as np
import pytest
from scipy import linalg

from cortex.recipes.quality import frechet_distance


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

"""The order by likeness: of points on a line the line's, of any points one of all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.atlas import likeness
from cortex.atlas.likeness import likeness_order


def gaps(vectors, order):
    """Distances of neighbours."""
    return np.linalg.norm(np.diff(vectors[order], axis=0), axis=1)


@pytest.mark.parametrize("count", [2, 7, 256, 257, 1100])
def test_points_on_a_line_stand_in_the_order_of_the_line(count):
    places = np.random.default_rng(count).permutation(count)
    order = likeness_order(places[:, None] * np.array([[3.0, -4.0]]))
    assert places[order].tolist() in (list(range(count)), list(range(count))[::-1])


def test_five_points_by_hand():
    order = likeness_order(np.array([[0.0, 0], [10, 0], [1, 0], [10, 1], [2, 0]])).tolist()
    assert order in ([0, 2, 4, 1, 3], [3, 1, 4, 2, 0])


@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 5))
def test_every_code_has_one_place_and_the_same_each_time(count, size, seed):
    vectors = np.random.default_rng(seed).integers(0, 3, (count, size)).astype(float)
    order = likeness_order(vectors)
    assert sorted(order) == list(range(count))
    assert np.array_equal(order, likeness_order(vectors))


def test_halves_are_joined_where_they_fit(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(500, 4))
    whole = gaps(vectors, likeness_order(vectors)).sum()
    monkeypatch.setattr(likeness, "AT_ONCE", 64)
    halved = gaps(vectors, likeness_order(vectors)).sum()
    assert halved < 1.2 * whole < 0.6 * gaps(vectors, np.arange(500)).sum()

"""Occurrences of codes (METHOD.md, section 12) against counters, image by image."""

from collections import Counter, defaultdict
from fractions import Fraction

import numpy as np
import pytest

from cortex.dictionary import occurrences
from cortex.dictionary.occurrences import count_occurrences, held_codes

CODES = 7


@pytest.fixture
def counted(packed, monkeypatch):
    """Grids of 3×2, whose parts of four are added up, and their occurrences."""
    monkeypatch.setattr(occurrences, "AT_ONCE", 4)
    rng = np.random.default_rng(0)
    labels, grids = np.array([2, 0, 2, 4, 0, 2, 2, 4, 0, 0, 4]), rng.integers(0, CODES, (11, 3, 2)) * (CODES > 1)
    grids[grids == 5] = 1  # code 5 does not occur
    return labels, grids, count_occurrences(packed(labels, grids), CODES)


def test_counts_are_those_of_counters(counted):
    labels, grids, found = counted
    of_pair = defaultdict(list)
    for label, grid in zip(labels.tolist(), grids.tolist(), strict=True):
        for token, times in Counter(token for row in grid for token in row).items():
            of_pair[label, token].append(times)
    assert list(zip(found.labels.tolist(), found.tokens.tolist(), strict=True)) == sorted(of_pair)
    expected = [of_pair[pair] for pair in sorted(of_pair)]
    assert found.counts.tolist() == [sum(times) for times in expected]
    assert found.images.tolist() == [len(times) for times in expected]
    assert found.squares.tolist() == [sum(each**2 for each in times) for times in expected]
    assert (found.classes, found.positions, found.class_images.tolist()) == (3, 6, [4, 0, 4, 0, 3])


def test_places_are_those_of_the_grids(counted):
    _, grids, found = counted
    for code in range(CODES):
        assert found.heat[code].tolist() == [int((grids.reshape(-1, 6)[:, place] == code).sum()) for place in range(6)]


def test_variances_are_those_of_sums_over_images(counted):
    labels, grids, found = counted
    for place, (label, token) in enumerate(zip(found.labels, found.tokens, strict=True)):
        times = (grids[labels == label].reshape(-1, 6) == token).sum(1)
        assert found.variances[place] == pytest.approx(len(times) * times.var(ddof=1))
        assert found.rates[place] == pytest.approx(times.mean())


def test_class_shares_are_of_equally_frequent_classes(counted):
    labels, grids, found = counted
    rates = {
        (label, token): Fraction(int((grids[labels == label] == token).sum()), int((labels == label).sum()))
        for label in (0, 2, 4)
        for token in range(CODES)
    }
    for label, token, share in zip(found.labels.tolist(), found.tokens.tolist(), found.class_shares(), strict=True):
        assert share == pytest.approx(float(rates[label, token] / sum(rates[other, token] for other in (0, 2, 4))))


def test_an_image_with_one_code_and_a_class_with_one_image(packed):
    found = count_occurrences(packed([0, 1], [[[3, 3]], [[3, 1]]]), CODES)
    assert found.variances.tolist() == [0, 0, 0]
    pairs, times = held_codes(np.array([[3, 3], [3, 1]]), CODES)
    assert (pairs.tolist(), times.tolist()) == ([3, 8, 10], [2, 1, 1])

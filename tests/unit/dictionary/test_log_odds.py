"""Log-odds (METHOD.md, section 12): by hand, and how often the interval holds the truth."""

from math import log, sqrt

import numpy as np
import pytest

from cortex.dictionary.log_odds import log_odds
from cortex.dictionary.occurrences import count_occurrences
from tests.unit.dictionary.simulated import POSITIONS, simulated


def test_by_hand(packed):
    """Grids of one position; code 1 is in 8 of 10 images of class 0, and in 2 of 10 of class 1."""
    tokens = [1] * 8 + [0] * 2 + [1] * 2 + [0] * 8
    found = count_occurrences(packed([0] * 10 + [1] * 10, [[[token]] for token in tokens]), 2)
    value, low, high = log_odds(found)
    place = found.labels.tolist().index(0) + found.tokens.tolist().index(1)
    # One position in two holds the code: added are one occurrence and two other positions.
    here, there = 9 / 13, 3 / 13
    assert value[place] == pytest.approx(log(here / (1 - here)) - log(there / (1 - there)))
    sum_variance = 10 / 9 * (8 - 8**2 / 10)  # of both sides
    half = 1.959964 * sqrt((sum_variance + 1) / (9 * (1 - here)) ** 2 + (sum_variance + 1) / (3 * (1 - there)) ** 2)
    assert (low[place], high[place]) == pytest.approx((value[place] - half, value[place] + half), abs=1e-6)


def test_two_classes_have_opposite_log_odds(packed):
    rng = np.random.default_rng(1)
    found = count_occurrences(packed(np.arange(40) % 2, rng.integers(0, 3, (40, 2, 3))), 3)
    value, low, high = log_odds(found)
    assert len(value) == 6
    assert value[:3] == pytest.approx(-value[3:])
    assert low[:3] == pytest.approx(-high[3:])


def test_a_code_that_occurs_once_among_many_classes_says_nothing():
    """The prior is the code's own share: without it, one occurrence in a hundred classes would seem to mark one."""
    rng = np.random.default_rng(2)
    found = simulated(rng, [2e-5] * 100, 100, 2000)
    value, low, _ = log_odds(found)
    once = found.by_code(found.counts)[found.tokens] == 1
    assert once.sum() > 100 and (value[once] < log(4)).all() and (low < 0).all()


def test_a_single_class_has_none(packed):
    found = count_occurrences(packed([3, 3], [[[0, 1]], [[0, 0]]]), 2)
    assert np.isnan(np.stack(log_odds(found))).all()


@pytest.mark.parametrize("clumping", [1.0, 4.0])
@pytest.mark.parametrize("rates", [(0.3, 0.1, 0.1, 0.1), (0.05, 0.4, 0.2, 0.0), (3, 2, 2.5, 1)])
def test_intervals_hold_the_truth_as_often_as_they_say(rates, clumping):
    codes, images = 1500, 300
    rates = [max(rate, 1e-9) for rate in rates]
    found = simulated(np.random.default_rng(3), rates, images, codes, clumping)
    _, low, high = log_odds(found)
    for label, rate in enumerate(rates[:3]):
        others = np.mean([other for place, other in enumerate(rates) if place != label])
        truth = log(rate / (POSITIONS - rate)) - log(others / (POSITIONS - others))
        of_label = found.labels == label
        held = ((low <= truth) & (truth <= high))[of_label].sum()
        assert (0.93 if clumping == 1 else 0.91) <= held / codes <= 0.985, (
            "codes without an occurrence have no row, and count as misses"
        )

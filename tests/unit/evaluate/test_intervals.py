"""Bootstrap intervals of many means at once, against scipy one at a time."""

import numpy as np
import pytest
from scipy import stats

from cortex.evaluate import intervals


@pytest.mark.parametrize("at_once", [1, 700, 10**9])
def test_intervals_are_those_of_scipy_on_the_same_resamples(rng, monkeypatch, at_once):
    monkeypatch.setattr(intervals, "AT_ONCE", at_once)
    values = np.concatenate([rng.normal(size=(3, 61)), rng.random((2, 61)) < 0.2])
    low, high = intervals.mean_intervals(values, 500, seed=7)
    for row in range(5):
        expected = stats.bootstrap(
            (values[row],), np.mean, n_resamples=500, method="percentile", rng=np.random.default_rng(7)
        ).confidence_interval
        assert (low[row], high[row]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_values_that_are_all_alike_is_their_mean():
    values = np.array([[0.1] * 7, [1 / 3] * 7], np.float32)
    for side in intervals.mean_intervals(values, 50, seed=0):
        assert side.tolist() == values.mean(1, dtype=np.float64).tolist()

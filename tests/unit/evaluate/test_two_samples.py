"""Differences of two runs: against scipy, draws of the distribution, and simulated truth; means over pairs."""

import numpy as np
import pytest
from scipy import stats

from cortex.evaluate.estimates import mean_squares, over_trainings
from cortex.evaluate.two_samples import difference, over_pairs
from tests.interval_coverage import drawn

DRAWS = 300_000


def crossed(rng, trainings, images, sd, mean=0.0):
    """Values ``[T, 1, N]`` with standard deviations of trainings, images and the rest."""
    return mean + (
        sd[0] * rng.normal(size=(trainings, 1, 1))
        + sd[1] * rng.normal(size=(1, 1, images))
        + sd[2] * rng.normal(size=(trainings, 1, images))
    )


def beyond_the_rest(rng, values):
    """Drawn variances of the mean from trainings ``[T, N]``, beyond that of the rest."""
    trainings, images = values.shape
    of_trainings, _, rest = (square.item() for square in mean_squares(values[:, None]))
    drawn_square = (trainings - 1) * of_trainings / rng.chisquare(trainings - 1, DRAWS)
    return np.maximum(drawn_square - rest, 0) / (trainings * images)


def of_images(rng, means):
    """Drawn variances of the mean of image means ``[N]``."""
    return (len(means) - 1) * means.var(ddof=1) / len(means) / rng.chisquare(len(means) - 1, DRAWS)


@pytest.mark.parametrize("same_images", [True, False])
@pytest.mark.parametrize("sd", [(1.0, 1.0, 1.0), (0.02, 1.0, 3.0), (2.0, 0.1, 0.5)])
def test_intervals_and_tests_are_those_of_a_drawn_distribution(rng, sd, same_images):
    """The same quantity by brute force: a normal deviation whose variance is drawn part by part."""
    one, other = crossed(rng, 3, 20, sd, mean=0.4), crossed(rng, 4, 20 if same_images else 12, sd)
    found = difference(one, other, same_images=same_images)
    mine, theirs = one[:, 0], other[:, 0]
    variances = beyond_the_rest(rng, mine) + beyond_the_rest(rng, theirs)
    if same_images:
        variances += of_images(rng, mine.mean(0) - theirs.mean(0))
    else:
        variances += of_images(rng, mine.mean(0)) + of_images(rng, theirs.mean(0))
    deviations = np.abs(np.sqrt(variances) * rng.normal(size=DRAWS))
    expected = mine.mean() - theirs.mean()
    assert found.mean.item() == pytest.approx(expected)
    assert found.p.item() == pytest.approx(np.mean(deviations > abs(expected)), rel=0.02)
    assert (found.high - found.mean).item() == pytest.approx(np.quantile(deviations, 0.95), rel=0.01)
    assert (found.mean - found.low).item() == pytest.approx((found.high - found.mean).item())
    spread = np.sqrt((mine.var(ddof=1) + theirs.var(ddof=1)) / 2)
    assert found.effect_size.item() == pytest.approx(expected / spread)


def test_of_one_training_each_on_the_same_images_it_is_the_paired_t_test(rng):
    one, other = rng.normal(size=(1, 1, 9)) + 0.5, rng.normal(size=(1, 1, 9))
    test = stats.ttest_rel(one.ravel(), other.ravel())
    found = difference(one, other, same_images=True)
    assert found.p.item() == pytest.approx(test.pvalue, rel=1e-3)
    interval = test.confidence_interval()
    assert (found.low.item(), found.high.item()) == pytest.approx((interval.low, interval.high), abs=1e-4)


@pytest.mark.parametrize("images", [3, 4, 5, 50, 1000, 10_000])
def test_any_number_of_images_has_the_interval_of_the_paired_t_test(rng, images):
    """The integral's error is on either side of the largest deviation that is possible; see METHOD.md, section 10."""
    one, other = rng.normal(size=(1, 1, images)) + 0.1, rng.normal(size=(1, 1, images))
    found = difference(one, other, same_images=True)
    interval = stats.ttest_rel(one.ravel(), other.ravel()).confidence_interval()
    assert (found.high - found.low).item() == pytest.approx(interval.high - interval.low, rel=2e-3)


def test_against_a_run_without_spread_it_is_the_estimate_of_one_run(rng):
    values = crossed(rng, 3, 200, (0.3, 1.0, 1.0), mean=0.5)
    found, alone = difference(values, np.zeros((1, 1, 200)), same_images=True), over_trainings(values)
    assert found.p.item() == pytest.approx(alone.p.item(), rel=0.03)
    assert found.high.item() == pytest.approx(alone.high.item(), rel=0.02)


def test_every_row_is_estimated_apart_and_equal_values_have_no_spread(rng):
    one, other = rng.normal(size=(3, 40, 15)), rng.normal(size=(2, 40, 11))
    one[:, 7], other[:, 7] = 0.75, 0.5
    found = difference(one, other, same_images=False)
    for row in (0, 19, 39):
        part = slice(row, row + 1)
        alone = difference(one[:, part], other[:, part], same_images=False)
        for name in ("mean", "low", "high", "effect_size", "p"):
            assert getattr(found, name)[row] == pytest.approx(getattr(alone, name).item(), rel=1e-6), name
    assert (found.mean[7], found.low[7], found.high[7], found.p[7]) == (0.25, 0.25, 0.25, 1)
    assert np.isnan(found.effect_size[7])


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_intervals_hold_the_truth_and_tests_keep_their_level(rng, share):
    """Two runs of the same expectation, wherever their variance lies."""
    one, other = (drawn(rng, share, 600, images=40) for _ in range(2))
    p = difference(one, other, same_images=False).p
    assert np.mean(p < 0.05) < 0.06
    assert np.mean(p < 0.001) < 0.004


def test_a_mean_over_pairs_has_the_variance_of_both_runs_trainings(rng):
    """Of values that add up, a[s] + b[t] + c[unit], the variance of the mean is that of three means."""
    a, b, c = rng.normal(size=3), 2 * rng.normal(size=4), 0.5 * rng.normal(size=10)
    found = over_pairs((a[:, None, None] + b[None, :, None] + c)[:, :, None])
    variances = sum((len(of) - 1) * of.var(ddof=1) / len(of) / rng.chisquare(len(of) - 1, DRAWS) for of in (a, b, c))
    deviations = np.abs(np.sqrt(variances) * rng.normal(size=DRAWS))
    assert found.mean.item() == pytest.approx(a.mean() + b.mean() + c.mean())
    assert (found.high - found.mean).item() == pytest.approx(np.quantile(deviations, 0.95), rel=0.01)

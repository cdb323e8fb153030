"""Means over trainings and images: against scipy, statsmodels' REML, draws of the distribution, and simulated truth."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cortex.core.errors import InputError
from cortex.evaluate import estimates
from cortex.evaluate.estimates import by_training, check_alike, mean_squares, over_images, over_trainings
from tests.interval_coverage import drawn


def crossed(rng, trainings, images, sd=(1.0, 1.0, 1.0), mean=0.5):
    """Values ``[T, 1, N]`` of the crossed model, with standard deviations of trainings, images and the rest."""
    return mean + (
        sd[0] * rng.normal(size=(trainings, 1, 1))
        + sd[1] * rng.normal(size=(1, 1, images))
        + sd[2] * rng.normal(size=(trainings, 1, images))
    )


def test_mean_squares_are_sums_over_trainings_and_images(rng):
    values = crossed(rng, 3, 4)[:, 0]
    mean = values.mean()
    rows, columns = values.mean(1), values.mean(0)
    expected = (
        sum((rows[t] - mean) ** 2 for t in range(3) for _ in range(4)) / 2,
        sum((columns[i] - mean) ** 2 for _ in range(3) for i in range(4)) / 3,
        sum((values[t, i] - rows[t] - columns[i] + mean) ** 2 for t in range(3) for i in range(4)) / 6,
    )
    assert [found.item() for found in mean_squares(values[:, None])] == pytest.approx(expected)
    assert [found.item() for found in mean_squares(values[:1, None])] == pytest.approx(
        [0, np.var(values[0], ddof=1), 0]
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_the_variance_of_the_mean_is_that_of_reml(seed):
    """Where all components are positive: statsmodels maximises the likelihood numerically."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    values = crossed(np.random.default_rng(seed), 4, 15)
    of_trainings, of_images, rest = (found.item() for found in mean_squares(values))
    assert of_trainings > rest and of_images > rest
    training, image = np.indices((4, 15)).reshape(2, -1)
    frame = pd.DataFrame({"value": values.ravel(), "training": training, "image": image, "all": 1})
    components = {"training": "0 + C(training)", "image": "0 + C(image)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLM.from_formula("value ~ 1", frame, groups="all", re_formula="0", vc_formula=components)
        fit = model.fit(reml=True)
    assert fit.fe_params.item() == pytest.approx(values.mean())
    assert dict(zip(model.exog_vc.names, fit.vcomp, strict=True)) == pytest.approx(
        {"training": (of_trainings - rest) / 15, "image": (of_images - rest) / 4}, rel=1e-2
    )
    assert fit.bse_fe.item() ** 2 == pytest.approx((of_trainings + of_images - rest) / 60, rel=1e-2)


@pytest.mark.parametrize(("trainings", "images"), [(1, 12), (5, 1)])
def test_of_one_training_or_one_image_it_is_the_t_test(rng, trainings, images):
    values = crossed(rng, trainings, images)
    found = over_trainings(values)
    test = stats.ttest_1samp(values.ravel(), 0)
    assert found.p.item() == pytest.approx(test.pvalue, rel=1e-3)
    interval = test.confidence_interval()
    assert (found.low.item(), found.high.item()) == pytest.approx((interval.low, interval.high), abs=1e-4)
    assert found.effect_size.item() == pytest.approx(values.mean() / values.std(ddof=1))


@pytest.mark.parametrize("sd", [(1.0, 1.0, 1.0), (0.02, 1.0, 3.0), (2.0, 0.1, 0.5)])
def test_intervals_and_tests_are_those_of_a_drawn_distribution(rng, sd):
    """The same quantity by brute force: mean squares divided by drawn χ², and a normal deviation."""
    values = crossed(rng, 3, 20, sd)
    found, draws = over_trainings(values), 2_000_000
    of_trainings, of_images, rest = (square.item() for square in mean_squares(values))
    by_trainings = np.maximum(2 * of_trainings / rng.chisquare(2, draws) - rest, 0)
    by_images = np.maximum(19 * of_images / rng.chisquare(19, draws) - rest, 0)
    deviations = np.sqrt((by_trainings + by_images + rest) / 60) * rng.normal(size=draws)
    assert found.p.item() == pytest.approx(np.mean(np.abs(deviations) > abs(values.mean())), rel=0.02)
    assert (found.high - found.mean).item() == pytest.approx(np.quantile(np.abs(deviations), 0.95), rel=0.01)
    assert (found.mean - found.low).item() == pytest.approx((found.high - found.mean).item())


@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_intervals_hold_the_truth_and_tests_keep_their_level(rng, share):
    """Wherever the variance lies; METHOD.md, section 9, has the table of tests/interval_coverage.py."""
    found = over_trainings(drawn(rng, share, 2000))
    held = (found.low < 0) & (found.high > 0)
    assert held.mean() > 0.94
    assert (held == (found.p > 0.05)).all()
    assert np.mean(found.p < 0.01) < 0.015


def test_many_means_at_once_are_those_one_at_a_time(rng, monkeypatch):
    values = np.concatenate([crossed(rng, 3, 9, (sd, 1, 1)) for sd in (0, 1, 4)], axis=1)
    together = over_trainings(values)
    monkeypatch.setattr(estimates, "AT_ONCE", 2)
    for one, other in zip(over_trainings(values).rows(), together.rows(), strict=True):
        assert one == pytest.approx(other)
    for place, row in enumerate(together.rows()):
        (alone,) = over_trainings(values[:, place : place + 1]).rows()
        assert alone == pytest.approx(row, rel=1e-6)


def test_every_training_is_estimated_alone_and_an_average_is_none_of_them(rng):
    values = dict(zip((0, 1, 2, -1), rng.normal(size=(4, 2, 8)), strict=True))
    found = by_training(values, 200, seed=3)
    assert list(found) == [0, 1, 2, -1, None]
    for training, of_training in values.items():
        alone = over_images(of_training, 200, seed=3)
        assert (found[training].low.tolist(), found[training].p.tolist()) == (alone.low.tolist(), alone.p.tolist())
        assert alone.p == pytest.approx(stats.ttest_1samp(of_training, 0, axis=1).pvalue)
    pooled = over_trainings(np.stack([values[training] for training in (0, 1, 2)]))
    assert found[None].mean.tolist() == pooled.mean.tolist()
    assert None not in by_training({-1: values[-1]}, 200, seed=3)


def test_without_spread_nothing_is_tested():
    same = np.array([[0.5, 0.5], [0, 0]])
    for found in (over_images(same, 10, 0), over_trainings(np.stack([same] * 3)), over_images(same[:, :1], 10, 0)):
        first, second = found.rows()
        assert first == {"mean": 0.5, "low": 0.5, "high": 0.5, "effect_size": None, "p": 1}
        assert (second["mean"], second["effect_size"], second["p"]) == (0, None, 1)


def test_where_trainings_and_images_have_the_same_means_the_rest_is_left():
    """Two trainings that are right about one of two images each, and not the same one."""
    (found,) = over_trainings(np.array([[[1, 0]], [[0, 1]]])).rows()
    rest = 1.0  # sum of four squares of a half, with one degree of freedom
    half = stats.norm.isf(0.025) * np.sqrt(rest / 4)
    assert (found["mean"], found["low"], found["high"]) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-6)


def test_intervals_end_where_the_range_of_their_measure_ends():
    """Trainings that differ: the intervals of all four means reach beyond what a share or a difference can be."""
    values = np.array([[[0.0, 0.3]], [[0.9, 1.0]], [[1.0, 1.0]]]).repeat(4, axis=1)
    unlimited = over_trainings(values)
    assert unlimited.low[0] < -1 and unlimited.high[0] > 1
    found = unlimited.within(["overlap", "probability_change", "tokens", "logit"])
    assert found.low.tolist() == [0, -1, 0, unlimited.low[3]]
    assert found.high.tolist() == [1, 1, unlimited.high[2], unlimited.high[3]]
    assert (found.mean == unlimited.mean).all() and (found.p == unlimited.p).all()


def test_trainings_of_other_images_are_refused():
    check_alike("cnn", {0: ["a", "b"], 1: ["a", "b"]})
    with pytest.raises(InputError, match="cnn/2: not the same images and settings, in the same order, as cnn/0"):
        check_alike("cnn", {0: ["a", "b"], 2: ["b", "a"]})

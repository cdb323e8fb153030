"""Tables of a comparison, from the runs' files by a slow way of their own."""

import numpy as np
import pytest

from cortex.evaluate.comparisons import holm
from tests.unit.compare.runs import right
from tests.unit.report.example import CLASSES, EXTRACTORS, JUDGES, METHODS, TRAININGS, N, random_images

SEEDS = {"one": 1, "two": 2, "three": 3}


def rows_of(compared, table, **values):
    return [row for row in compared.tables[table] if all(row[name] == value for name, value in values.items())]


def test_accuracy_is_that_of_the_shared_classes(compared):
    # "three" has its classes in another order, and yak in place of ant; ant stands first, yak too.
    for run, seed in SEEDS.items():
        for extractor in EXTRACTORS:
            trainings = (0,) if run == "three" else TRAININGS
            read = np.array([right(seed, f"{extractor}/{training}") for training in trainings])
            labels = random_images()[0]
            (row,) = rows_of(compared, "accuracy", run=run, extractor=extractor, training=None, **{"class": None})
            shared = labels > 0  # ant, or yak, is label 0
            assert row["accuracy"] == pytest.approx(read[:, shared].mean())
            assert (row["images"], row["choices"]) == (12, CLASSES)
            (row,) = rows_of(compared, "accuracy", run=run, extractor=extractor, **{"class": "bee"})
            assert row["accuracy"] == pytest.approx(read[:, labels == (6 if run == "three" else 1)].mean())
            for training in trainings:
                found = rows_of(compared, "accuracy", run=run, extractor=extractor, training=training)
                assert [one["accuracy"] for one in found] == [pytest.approx(read[training, shared].mean())]


def test_curves_are_mixed_from_the_rows_of_the_image_level(compared):
    """Masks of n = 1, 2, 4 hide 10, 20, 40 %; a class but the first loses 7.5 points at n = 2, by random masks 3."""
    assert N == (1, 2, 4)
    rows = rows_of(compared, "curves", run="one", training=None, **{"class": None})
    assert {row["area"] for row in rows} == {0.1, 0.2, 0.3, 0.4}
    assert len(rows) == 4 * len(METHODS) * len(EXTRACTORS) * len(JUDGES)
    for row in rows:
        assert row["importance"] == pytest.approx(-0.075 * row["area"] / 0.2)
        assert row["random_area"] == pytest.approx(-0.03 * row["area"] / 0.2)
        assert row["excess"] == pytest.approx(-0.045 * row["area"] / 0.2)
        assert row["images"] == 12
    assert rows_of(compared, "curves", run="three") == []
    assert {row["class"] for row in rows_of(compared, "curves", run="two", training=None)} == {
        None, "bee", "cat", "dog", "eel", "fox", "gnu"
    }  # fmt: skip


def test_differences_of_accuracies_are_those_of_draws(compared):
    """The model of METHOD.md, section 10, drawn: two runs with other images."""
    rng, draws, labels = np.random.default_rng(0), 400_000, random_images()[0]
    rows = rows_of(compared, "differences", measure="accuracy", run="one", other_run="two")
    assert [row["extractor"] for row in rows] == EXTRACTORS
    for row in rows:
        means, variances = [], 0
        for seed in (1, 2):
            values = np.array([right(seed, f"{row['extractor']}/{t}")[labels > 0] for t in TRAININGS], float)
            trainings, images = values.shape
            rest = values - values.mean(1)[:, None] - values.mean(0) + values.mean()
            rest_square = (rest**2).sum() / (trainings - 1) / (images - 1)
            square = images * values.mean(1).var(ddof=1)
            x, y = rng.chisquare(trainings - 1, draws), rng.chisquare(images - 1, draws)
            variances = variances + np.maximum((trainings - 1) * square / x - rest_square, 0) / values.size
            variances = variances + (images - 1) * values.mean(0).var(ddof=1) / images / y
            means.append(values.mean())
        deviations = np.abs(np.sqrt(variances) * rng.normal(size=draws))
        half = np.quantile(deviations, 0.95)
        assert row["difference"] == pytest.approx(means[0] - means[1])
        assert row["p"] == pytest.approx(np.mean(deviations > abs(row["difference"])), rel=0.03, abs=2e-4)
        assert row["low"] == pytest.approx(max(row["difference"] - half, -1), abs=0.01)
        assert row["high"] == pytest.approx(min(row["difference"] + half, 1), abs=0.01)
        assert (row["trainings"], row["other_trainings"], row["images"], row["same_images"]) == (3, 3, 12, False)


def test_p_values_of_a_question_are_corrected_together_and_one_training_has_no_verdict(compared):
    rows = compared.tables["differences"]
    assert {(row["run"], row["other_run"]) for row in rows} == {("one", "two")}, "three chooses among other classes"
    for measure, attribution in (("accuracy", None), *(("excess", method) for method in METHODS)):
        family = rows_of(compared, "differences", measure=measure, attribution=attribution)
        expected = holm(np.array([row["p"] for row in family]))
        assert [row["p_corrected"] for row in family] == pytest.approx(expected.tolist())
        for row in family:
            first_is_better = row["difference"] * (1 if measure == "accuracy" else -1) > 0
            said = "better" if first_is_better else "worse"
            assert row["verdict"] == (said if row["p_corrected"] < 0.05 else "no difference found")
    assert len(rows) == len(EXTRACTORS) * (1 + 4 * len(METHODS) * len(JUDGES))


def test_equal_masks_differ_by_nothing(compared):
    for row in rows_of(compared, "differences", measure="excess"):
        assert (row["difference"], row["verdict"]) == (pytest.approx(0), "no difference found")

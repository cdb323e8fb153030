"""Comparisons with baselines: of one training against scipy, one at a time; of several; and by hand."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.comparisons import compare_all, holm
from cortex.evaluate.estimates import over_trainings

NOTHING = "no difference found"


def image_rows(rng, keys, means):
    return [
        {"key": key, "label": place % 2, "method": method, "n": n, "probability_change": rng.normal(mean, 0.1)}
        for method, mean in means.items()
        for n in (1, 4)
        for place, key in enumerate(keys)
    ]


MEANS = {"importance": -0.3, "random": -0.1, "random_area": -0.5, "random_brightness": -0.3}
KEYS = [f"k{number:03d}" for number in range(40)]


@pytest.fixture
def rows():
    return image_rows(np.random.default_rng(2), KEYS, MEANS)


@pytest.fixture
def trainings():
    """Rows of three trainings; the second one's importance costs a little less, the third one's a little more."""
    rng = np.random.default_rng(2)
    return {
        f"cnn/{training}": image_rows(rng, KEYS, MEANS | {"importance": -0.3 + shift})
        for training, shift in enumerate((0, 0.002, -0.002))
    }


def write(path, rows):
    write_table(path, pa.Table.from_pylist(rows))
    return path


def compared(folder, shards, level="image_level"):
    return compared_trainings(folder, [("cnn/0", rows) for rows in shards], level)


def compared_trainings(folder, files, level="image_level", attribution="tis"):
    paths = [write(folder / f"{place}.parquet", rows) for place, (_, rows) in enumerate(files)]
    of = {"levels": level, "attributions": attribution, "judges": "vit"}
    named = {name: [value] * len(files) for name, value in of.items()}
    compare_all(folder / "comparisons.parquet", paths, extractors=[word for word, _ in files], **named)
    return read_table(folder / "comparisons.parquet").to_pylist()


def differences_of(rows, baseline, setting, label):
    """Importance minus baseline, image by image in the order of keys."""
    values = {
        method: [
            row["probability_change"]
            for row in sorted(rows, key=lambda row: row["key"])
            if (row["method"], row["n"]) == (method, setting) and label in (None, row["label"])
        ]
        for method in ("importance", baseline)
    }
    return np.subtract(values["importance"], values[baseline])


def test_comparisons_of_a_training_are_those_of_scipy_one_at_a_time(tmp_path, rows):
    found = [row for row in compared(tmp_path, [rows]) if row["training"] is not None]
    names = ("attribution", "extractor", "training", "judge", "list", "area")
    assert {tuple(row[name] for name in names) for row in found} == {("tis", "cnn", 0, "vit", None, None)}
    assert len(found) == 3 * 2 * (1 + 2)  # baselines × n × (all images, two classes)
    for row in found:
        differences = differences_of(rows, row["baseline"], row["setting"], row["label"])
        assert row["pairs"] == len(differences) == (40 if row["label"] is None else 20)
        assert row["difference"] == pytest.approx(differences.mean())
        assert row["p"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
        assert row["effect_size"] == pytest.approx(row["difference"] / np.std(differences, ddof=1))
        # Percentiles of 2,000 resamples come close to those of the normal distribution, known to a few percent.
        error = np.std(differences, ddof=1) / np.sqrt(row["pairs"])
        assert row["low"] == pytest.approx(row["difference"] - 1.96 * error, abs=0.25 * error)
        assert row["high"] == pytest.approx(row["difference"] + 1.96 * error, abs=0.25 * error)
        assert row["p_corrected"] is row["verdict"] is None, "a training describes; it claims nothing"


def test_claims_are_over_trainings_and_images(tmp_path, trainings):
    found = compared_trainings(tmp_path, [*trainings.items()])
    assert len(found) == (3 + 1) * 3 * 2 * (1 + 2)
    for row in found:
        if row["training"] is None:
            values = [
                differences_of(rows, row["baseline"], row["setting"], row["label"]) for rows in trainings.values()
            ]
            (expected,) = over_trainings(np.array(values)[:, None]).rows()
            assert row["difference"] == pytest.approx(np.mean(values))
            assert [row[name] for name in ("low", "high", "p")] == pytest.approx(
                [expected[name] for name in ("low", "high", "p")], rel=1e-6
            )
            assert row["effect_size"] == pytest.approx(np.mean(values) / np.std(values, ddof=1))


def test_verdicts_follow_the_corrected_p_and_the_wanted_sign(tmp_path, trainings):
    found = [row for row in compared_trainings(tmp_path, [*trainings.items()]) if row["training"] is None]
    verdicts = {(row["baseline"], row["setting"]): row["verdict"] for row in found if row["label"] is None}
    assert verdicts == {
        **{("random", n): "better" for n in (1, 4)},  # the probability falls further
        **{("random_area", n): "worse" for n in (1, 4)},
        **{("random_brightness", n): NOTHING for n in (1, 4)},
    }
    for baseline in ("random", "random_area", "random_brightness"):  # each is a question of its own
        for whole in (True, False):
            family = [row for row in found if row["baseline"] == baseline and (row["label"] is None) == whole]
            corrected = holm(np.array([row["p"] for row in family]))
            assert [row["p_corrected"] for row in family] == pytest.approx(corrected.tolist())


def test_an_effect_of_one_training_is_no_claim(tmp_path):
    """One training finds a large difference, two find none: over images it would be beyond doubt."""
    rng = np.random.default_rng(0)
    files = [
        (f"cnn/{training}", image_rows(rng, KEYS, MEANS | {"importance": mean, "random": -0.1}))
        for training, mean in enumerate((-0.5, -0.1, -0.1))
    ]
    found = [row for row in compared_trainings(tmp_path, files) if row["baseline"] == "random" and not row["label"]]
    first, claim = ({row["setting"]: row for row in found if row["training"] == training} for training in (0, None))
    assert first[1]["p"] < 1e-10
    assert claim[1]["p"] > 0.1
    assert claim[1]["verdict"] == NOTHING


def test_one_training_gives_no_verdict(tmp_path, rows):
    found = compared(tmp_path, [rows])
    assert {row["training"] for row in found} == {0, None}
    assert {(row["p_corrected"], row["verdict"]) for row in found} == {(None, None)}
    alone, pooled = ([row for row in found if row["training"] == training] for training in (0, None))
    assert [row["difference"] for row in alone] == pytest.approx([row["difference"] for row in pooled])


def test_an_average_of_trainings_is_no_part_of_a_claim(tmp_path, trainings):
    average = ("cnn/average", [row | {"probability_change": 9.0} for row in trainings["cnn/0"]])
    found = compared_trainings(tmp_path, [*trainings.items(), average])
    without = compared_trainings(tmp_path, [*trainings.items()])
    assert [row for row in found if row["training"] != -1] == without
    assert {row["verdict"] for row in found if row["training"] == -1} == {None}


def test_trainings_of_other_images_are_refused(tmp_path, trainings):
    renamed = [row | {"key": f"other-{row['key']}"} for row in trainings["cnn/1"]]
    with pytest.raises(InputError, match="cnn/1: not the same images and settings, in the same order, as cnn/0"):
        compared_trainings(tmp_path, [*(trainings | {"cnn/1": renamed}).items()])


def test_shards_and_the_order_of_rows_make_no_difference(tmp_path, rows):
    whole = compared(tmp_path, [rows])
    halves = [[row for row in rows if (row["key"] < "k013") == first] for first in (True, False)]
    for one, other in zip(compared(tmp_path, [halves[1][::-1], halves[0]]), whole, strict=True):
        assert one == pytest.approx(other)


def test_one_baseline_serves_every_setting_of_the_concept_level(tmp_path):
    rows = [
        concept_row(key, method, "count", n, None, value - 0.01 * key)
        for method, n, value in (("importance", 1, -0.5), ("importance", 5, -0.2), ("frequency", None, -0.3))
        for key in range(3)
    ]
    found = compared(tmp_path, [rows], "concept_level")
    found = [row for row in found if row["label"] is None and row["training"] == 0]
    assert [(row["setting"], round(row["difference"], 6)) for row in found] == [(1, -0.2), (5, 0.1)]


def concept_row(key, method, kind, top_n, area, value):
    of = {"key": f"k{key}", "label": 0, "method": method, "list": kind, "top_n": top_n, "area": area}
    return of | {"probability_change": value}


def test_lists_are_compared_with_frequency_of_the_same_kind_at_the_same_area(tmp_path):
    """Values that name their list and area: a difference of others would be another number."""
    baseline = {("count", None): 0.1, ("count", 0.2): 0.2, ("contrast", None): 0.4, ("contrast", 0.2): 0.8}
    rows = [
        concept_row(key, method, kind, n, area, value)
        for (kind, area), of_baseline in baseline.items()
        for method, n, value in (("frequency", None, of_baseline), ("importance", 1, 0), ("importance", 5, 10))
        for key in range(3)
    ]
    found = [row for row in compared(tmp_path, [rows[::-1]], "concept_level") if row["label"] is None]
    differences = {(row["list"], row["area"], row["setting"]): row["difference"] for row in found}
    expected = {(*of, n): value - of_baseline for of, of_baseline in baseline.items() for n, value in ((1, 0), (5, 10))}
    assert differences == pytest.approx(expected)
    without = [row for row in rows if (row["method"], row["list"], row["area"]) != ("frequency", "contrast", 0.2)]
    with pytest.raises(InputError, match=r"0\.parquet: no frequency beside every importance"):
        compared(tmp_path, [without], "concept_level")


def test_the_codebook_level_compares_rises_and_a_larger_one_is_better(tmp_path):
    rng = np.random.default_rng(1)
    files = [
        (
            f"cnn/{training}",
            [
                {
                    "key": f"k{key}",
                    "source": 3,
                    "method": method,
                    "target_probability_before": 0.1,
                    "target_probability_after": 0.1 + rise + rng.normal(0, 0.01),
                }
                for method, rise in (("token_selection", 0.6), ("embedding", 0.2))
                for key in range(9)
            ],
        )
        for training in range(3)
    ]
    found = compared_trainings(tmp_path, files, "codebook_level")
    overall, of_class = (row for row in found if row["training"] is None)
    assert overall["difference"] == pytest.approx(0.4, abs=0.02)
    assert (overall["setting"], overall["label"], of_class["label"], overall["verdict"]) == (None, None, 3, "better")


def test_what_is_said_of_one_level_does_not_depend_on_another(tmp_path, trainings):
    concept = [
        concept_row(key, method, "count", n, None, value + key % 3)
        for method, n, value in (("importance", 1, -0.5), ("frequency", None, -0.3))
        for key in range(9)
    ]
    alone = compared_trainings(tmp_path, [*trainings.items()])
    files = [write(tmp_path / f"image-{place}.parquet", rows) for place, rows in enumerate(trainings.values())]
    files += [write(tmp_path / "concept.parquet", concept)] * 3
    named = {"levels": ["image_level"] * 3 + ["concept_level"] * 3, "extractors": [*trainings] * 2}
    compare_all(tmp_path / "both.parquet", files, **named, attributions=["tis"] * 6, judges=["vit"] * 6)
    found = read_table(tmp_path / "both.parquet").to_pylist()
    assert [row for row in found if row["level"] == "image_level"] == alone


def test_an_attribution_changes_nothing_about_another(tmp_path, trainings):
    alone = compared_trainings(tmp_path, [*trainings.items()])
    files = [write(tmp_path / f"tis-{place}.parquet", rows) for place, rows in enumerate(trainings.values())]
    for place, rows in enumerate(trainings.values()):
        other = [row | {"probability_change": -row["probability_change"]} for row in rows]
        files.append(write(tmp_path / f"occlusion-{place}.parquet", other))
    both, named = tmp_path / "both.parquet", {"levels": ["image_level"] * 6, "judges": ["vit"] * 6}
    attributions = ["tis"] * 3 + ["occlusion"] * 3
    compare_all(both, files, attributions=attributions, extractors=[*trainings] * 2, **named)
    found = read_table(both).to_pylist()
    assert [row for row in found if row["attribution"] == "tis"] == alone
    second = [row for row in found if row["attribution"] == "occlusion"]
    assert [row["difference"] for row in second] == pytest.approx([-row["difference"] for row in alone])


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_unpaired_rows_are_an_error(tmp_path, rows):
    with pytest.raises(InputError, match=r"0\.parquet: not the same images for random, n = 4 as for other"):
        compared(tmp_path, [[row for row in rows if (row["key"], row["method"], row["n"]) != ("k007", "random", 4)]])
    with pytest.raises(InputError, match=r"0\.parquet: no random_area beside every importance"):
        compared(tmp_path, [[row for row in rows if row["method"] != "random_area"]])
    with pytest.raises(InputError, match=r"level 'pixel_level': allowed: image_level, concept_level, codebook_level"):
        compared(tmp_path, [rows], "pixel_level")

"""Comparisons with baselines: against scipy called on one comparison at a time, and against hand-computed values."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.comparisons import compare_all, holm, paired

NOTHING = "no difference found"


def image_rows(rng, keys, means):
    return [
        {"key": key, "label": place % 2, "method": method, "n": n, "probability_change": rng.normal(mean, 0.1)}
        for method, mean in means.items()
        for n in (1, 4)
        for place, key in enumerate(keys)
    ]


@pytest.fixture
def rows():
    rng = np.random.default_rng(2)
    means = {"importance": -0.3, "random": -0.1, "random_area": -0.5, "random_brightness": -0.3}
    return image_rows(rng, [f"k{number:03d}" for number in range(40)], means)


def compared(folder, shards, level="image_level"):
    files = []
    for place, shard in enumerate(shards):
        files.append(folder / f"{place}.parquet")
        write_table(files[-1], pa.Table.from_pylist(shard))
    of = {"levels": level, "attributions": "tis", "extractors": "cnn/0", "judges": "vit"}
    named = {name: [value] * len(files) for name, value in of.items()}
    compare_all(folder / "comparisons.parquet", files, **named)
    return read_table(folder / "comparisons.parquet").to_pylist()


def test_comparisons_are_those_of_scipy_one_at_a_time(tmp_path, rows):
    found = compared(tmp_path, [rows])
    names = ("attribution", "extractor", "training", "judge", "list", "area")
    assert {tuple(row[name] for name in names) for row in found} == {("tis", "cnn", 0, "vit", None, None)}
    assert len(found) == 3 * 2 * (1 + 2)  # baselines × n × (all images, two classes)
    for row in found:
        values = {
            method: [
                r["probability_change"]
                for r in sorted(rows, key=lambda r: r["key"])
                if (r["method"], r["n"]) == (method, row["setting"]) and row["label"] in (None, r["label"])
            ]
            for method in ("importance", row["baseline"])
        }
        mine, theirs = values["importance"], values[row["baseline"]]
        assert row["pairs"] == len(mine) == (40 if row["label"] is None else 20)
        assert row["difference"] == pytest.approx(np.mean(mine) - np.mean(theirs))
        assert row["p"] == pytest.approx(stats.ttest_rel(mine, theirs).pvalue)
        assert row["effect_size"] == pytest.approx(row["difference"] / np.std(np.subtract(mine, theirs), ddof=1))
        # Percentiles of 2,000 resamples come close to those of the normal distribution, known to a few percent.
        error = np.std(np.subtract(mine, theirs), ddof=1) / np.sqrt(row["pairs"])
        assert row["low"] == pytest.approx(row["difference"] - 1.96 * error, abs=0.25 * error)
        assert row["high"] == pytest.approx(row["difference"] + 1.96 * error, abs=0.25 * error)


def test_verdicts_follow_the_corrected_p_and_the_wanted_sign(tmp_path, rows):
    found = compared(tmp_path, [rows])
    verdicts = {(row["baseline"], row["setting"]): row["verdict"] for row in found if row["label"] is None}
    assert verdicts == {
        **{("random", n): "better" for n in (1, 4)},  # the probability falls further
        **{("random_area", n): "worse" for n in (1, 4)},
        **{("random_brightness", n): NOTHING for n in (1, 4)},
    }
    for whole in (True, False):  # of this one level
        family = [row for row in found if (row["label"] is None) == whole]
        corrected = holm(np.array([row["p"] for row in family]))
        assert [row["p_corrected"] for row in family] == pytest.approx(corrected.tolist())


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
    found = [row for row in compared(tmp_path, [rows], "concept_level") if row["label"] is None]
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
    rows = [
        {
            "key": f"k{key}",
            "source": 3,
            "method": method,
            "target_probability_before": 0.1,
            "target_probability_after": 0.1 + rise + rng.normal(0, 0.01),
        }
        for method, rise in (("token_selection", 0.6), ("embedding", 0.2))
        for key in range(9)
    ]
    overall, of_class = compared(tmp_path, [rows], "codebook_level")
    assert overall["difference"] == pytest.approx(0.4, abs=0.02)
    assert (overall["setting"], overall["label"], of_class["label"], overall["verdict"]) == (None, None, 3, "better")


def test_what_is_said_of_one_level_does_not_depend_on_another(tmp_path, rows):
    concept = [
        concept_row(key, method, "count", n, None, value + key % 3)
        for method, n, value in (("importance", 1, -0.5), ("frequency", None, -0.3))
        for key in range(9)
    ]
    alone = compared(tmp_path, [rows])
    for name, level_rows in (("image", rows), ("concept", concept)):
        write_table(tmp_path / f"{name}.parquet", pa.Table.from_pylist(level_rows))
    files, both = [tmp_path / "image.parquet", tmp_path / "concept.parquet"], tmp_path / "both.parquet"
    named = {"attributions": ["tis"] * 2, "extractors": ["cnn/0"] * 2, "judges": ["vit"] * 2}
    compare_all(both, files, levels=["image_level", "concept_level"], **named)
    assert [row for row in read_table(both).to_pylist() if row["level"] == "image_level"] == alone


def test_an_attribution_changes_nothing_about_another(tmp_path, rows):
    alone = compared(tmp_path, [rows])
    other = [row | {"probability_change": -row["probability_change"]} for row in rows]
    write_table(tmp_path / "other.parquet", pa.Table.from_pylist(other))
    both = tmp_path / "both.parquet"
    named = {"levels": ["image_level"] * 2, "extractors": ["cnn/0"] * 2, "judges": ["vit"] * 2}
    compare_all(both, [tmp_path / "0.parquet", tmp_path / "other.parquet"], attributions=["tis", "occlusion"], **named)
    found = read_table(both).to_pylist()
    assert [row for row in found if row["attribution"] == "tis"] == alone
    second = [row for row in found if row["attribution"] == "occlusion"]
    assert [row["difference"] for row in second] == pytest.approx([-row["difference"] for row in alone])


def test_holm_by_hand():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm(np.array([0.9, 0.8])).tolist() == [1, 1]


def test_without_spread_nothing_is_tested():
    (same, none), (alone,) = paired(np.array([[0.5, 0.5], [0, 0]]), 10, 0), paired(np.array([[0.5]]), 10, 0)
    for row in (same, alone):
        assert (row["difference"], row["low"], row["high"], row["effect_size"], row["p"]) == (0.5, 0.5, 0.5, None, 1)
    assert (none["difference"], none["p"]) == (0, 1)


def test_unpaired_rows_are_an_error(tmp_path, rows):
    with pytest.raises(InputError, match=r"0\.parquet: not the same images for random, n = 4 as for other"):
        compared(tmp_path, [[row for row in rows if (row["key"], row["method"], row["n"]) != ("k007", "random", 4)]])
    with pytest.raises(InputError, match=r"0\.parquet: no random_area beside every importance"):
        compared(tmp_path, [[row for row in rows if row["method"] != "random_area"]])
    with pytest.raises(InputError, match=r"level 'pixel_level': allowed: image_level, concept_level, codebook_level"):
        compared(tmp_path, [rows], "pixel_level")

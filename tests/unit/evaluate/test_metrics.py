"""Metrics: means taken by hand, of every training and of all, each with the interval of its own rows."""

import numpy as np
import pyarrow as pa
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.estimates import over_trainings
from cortex.evaluate.intervals import mean_intervals
from cortex.evaluate.metrics import accuracy_at, mean_by


def ranks_of(folder, name, ranks):
    """A file of label ranks."""
    keys = [f"k{place}" for place in range(len(ranks))]
    write_table(folder / f"{name}.parquet", pa.table({"split": ["test"] * len(ranks), "key": keys, "rank": ranks}))
    return folder / f"{name}.parquet"


def test_accuracy_by_hand(tmp_path):
    files = [ranks_of(tmp_path, "a", [0, 1, 0, 3]), ranks_of(tmp_path, "b", [0, 0, 0, 2])]
    accuracy_at(tmp_path / "accuracy.parquet", files, of="extractor", names=["cnn/0", "cnn/1"], k=[1, 3])
    rows = [tuple(row.values()) for row in read_table(tmp_path / "accuracy.parquet").to_pylist()]
    # Of four resampled images, none is right in 1 of 16 resamples, so 0 and 1 are in a 95 % interval about a half.
    assert rows[:4] == [
        ("cnn", 0, "test", 1, 0.5, 0.0, 1.0, 4),
        ("cnn", 0, "test", 3, 0.75, 0.25, 1.0, 4),
        ("cnn", 1, "test", 1, 0.75, 0.25, 1.0, 4),
        ("cnn", 1, "test", 3, 1.0, 1.0, 1.0, 4),
    ]
    right = np.array([[[1, 0, 1, 0], [1, 1, 1, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]]])  # training, k, image
    pooled = over_trainings(right)
    assert [row[:5] for row in rows[4:]] == [("cnn", None, "test", 1, 0.625), ("cnn", None, "test", 3, 0.875)]
    for place, (*_, low, high, samples) in enumerate(rows[4:]):
        assert low == pytest.approx(max(pooled.low[place], 0))
        assert high == 1 < pooled.high[place], "an accuracy ends at 1"
        assert samples == 4
    accuracy_at(tmp_path / "accuracy.parquet", files[1:], of="judge", names=["vit"], k=[3])
    columns = ("judge", "split", "k", "accuracy", "accuracy_low", "accuracy_high", "samples")
    (row,) = read_table(tmp_path / "accuracy.parquet").to_pylist()
    assert row == dict(zip(columns, ("vit", "test", 3, 1.0, 1.0, 1.0, 4), strict=True))
    fewer = [files[0], ranks_of(tmp_path, "c", [0, 0])]
    with pytest.raises(InputError, match="cnn/1: not the same images"):
        accuracy_at(tmp_path / "accuracy.parquet", fewer, of="extractor", names=["cnn/0", "cnn/1"], k=[1])


def test_means_are_over_images_not_over_shards(tmp_path):
    files = []
    for shard, values in enumerate([[1.0, 2.0, 3.0], [10.0]]):
        files.append(tmp_path / f"{shard}.parquet")
        keys = [f"{shard}-{place}" for place in range(len(values))]
        columns = {"key": keys, "method": ["importance"] * len(values), "n": [5] * len(values), "logit": values}
        write_table(files[-1], pa.table(columns))
    other = tmp_path / "other.parquet"
    write_table(other, pa.table({"key": ["0-0"], "method": ["importance"], "n": [5], "logit": [0.25]}))
    mean_by(
        tmp_path / "mean.parquet",
        [*files, other],
        attributions=["tis"] * 3,
        extractors=["cnn/1", "cnn/1", "resnet/0"],
        judges=["vit", "vit", "vit"],
        by=["method", "n"],
        measures=["logit"],
    )
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    named = {"judge": "vit", "method": "importance", "n": 5}
    first, pooled, alone, pooled_alone = found
    assert {row.pop("attribution") for row in found} == {"tis"}
    assert 1 <= first.pop("logit_low") < 2 and 5 < first.pop("logit_high") <= 10
    assert first == {"extractor": "cnn", "training": 1, **named, "samples": 4, "logit": 4.0}
    assert (pooled["training"], pooled["samples"], pooled["logit"]) == (None, 4, 4.0)
    for row, training in ((alone, 0), (pooled_alone, None)):  # one image has no spread
        ends = {"logit_low": 0.25, "logit_high": 0.25}
        assert row == {"extractor": "resnet", "training": training, **named, "samples": 1, "logit": 0.25} | ends


def test_means_over_trainings_leave_an_average_out(tmp_path, rng):
    """Two settings of unlike numbers of images, two measures, three trainings and their average."""
    words, sizes, files, drawn = ("cnn/0", "cnn/1", "cnn/2", "cnn/average"), {1: 6, None: 4}, [], {}
    for place, word in enumerate(words):
        drawn[word] = {n: rng.normal(size=(2, count)) for n, count in sizes.items()}
        rows = [
            {"key": f"k{image}", "top_n": n, "a": values[0, image], "b": values[1, image]}
            for n, values in drawn[word].items()
            for image in range(values.shape[1])
        ]
        files.append(tmp_path / f"{place}.parquet")
        write_table(files[-1], pa.Table.from_pylist(rows))
    named = {"by": ["top_n"], "measures": ["a", "b"]}
    of_files = {"attributions": ["tis"] * 4, "judges": ["vit"] * 4, "extractors": list(words)}
    mean_by(tmp_path / "mean.parquet", files, **of_files, **named)
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    assert [(row["training"], row["top_n"]) for row in found] == [
        (training, n) for training in (0, 1, 2, -1, None) for n in (1, None)
    ]
    for row in found[-2:]:
        pooled = over_trainings(np.stack([drawn[word][row["top_n"]] for word in words[:3]]))
        for place, measure in enumerate("ab"):
            expected = (pooled.mean[place], pooled.low[place], pooled.high[place])
            assert (row[measure], row[f"{measure}_low"], row[f"{measure}_high"]) == pytest.approx(expected)
    write_table(tmp_path / "other.parquet", read_table(files[1]).slice(0, 9))
    other = [files[0], tmp_path / "other.parquet"]
    with pytest.raises(InputError, match="cnn/1: not the same images and settings"):
        mean_by(tmp_path / "mean.parquet", other, **{name: values[:2] for name, values in of_files.items()}, **named)


def test_attributions_are_averaged_apart(tmp_path):
    """Two attributions of one extractor and judge, and a level that depends on none."""
    for name, values in (("a", [1.0, 3.0]), ("b", [5.0])):
        keys = [f"{name}{place}" for place in range(len(values))]
        columns = {"key": keys, "method": ["importance"] * len(values), "x": values}
        write_table(tmp_path / f"{name}.parquet", pa.table(columns))
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    named = {"extractors": ["cnn/0"] * 2, "judges": ["vit"] * 2, "by": ["method"], "measures": ["x"]}
    mean_by(tmp_path / "mean.parquet", files, attributions=["tis", "occlusion"], **named)
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    assert [(row["attribution"], row["training"], row["samples"], row["x"]) for row in found] == [
        (attribution, training, *of)
        for attribution, *of in (("tis", 2, 2.0), ("occlusion", 1, 5.0))
        for training in (0, None)
    ]
    mean_by(tmp_path / "mean.parquet", files, attributions=[None, None], **named)
    for row in read_table(tmp_path / "mean.parquet").to_pylist():
        assert (row["attribution"], row["samples"], row["x"]) == (None, 3, 3.0)


def test_every_mean_has_the_interval_of_its_own_rows(tmp_path, rng):
    """Settings of unlike numbers of images, one of them null, in two files: each as if it had been alone."""
    rows = [
        {"key": f"k{place}", "method": method, "top_n": n, "a": value, "b": 10 * value}
        for method, n, images in (("importance", 1, 9), ("importance", 5, 9), ("frequency", None, 4))
        for place, value in enumerate(rng.normal(size=images))
    ]
    rows = [rows[place] for place in rng.permutation(len(rows))]
    files = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for path, part in zip(files, (rows[:10], rows[10:]), strict=True):
        write_table(path, pa.Table.from_pylist(part))
    named = {"attributions": [None] * 2, "extractors": ["cnn/0"] * 2, "judges": ["vit"] * 2}
    named |= {"by": ["method", "top_n"], "measures": ["a", "b"]}
    mean_by(tmp_path / "mean.parquet", files, **named, resamples=300, seed=5)
    found = [row for row in read_table(tmp_path / "mean.parquet").to_pylist() if row["training"] == 0]
    assert [row["samples"] for row in sorted(found, key=lambda row: row["top_n"] or 0)] == [4, 9, 9]
    for row in found:
        of_setting = [r for r in rows if (r["method"], r["top_n"]) == (row["method"], row["top_n"])]
        for measure in ("a", "b"):
            values = np.array([[r[measure] for r in of_setting]])
            (low,), (high,) = mean_intervals(values, 300, seed=5)
            assert row[measure] == pytest.approx(values.mean())
            assert (row[f"{measure}_low"], row[f"{measure}_high"]) == pytest.approx((low, high))
            assert low < row[measure] < high


def test_files_without_names_and_words_that_name_no_training_are_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    write_table(path, pa.table({"key": ["k"], "method": ["importance"], "probability": [0.5]}))
    named = {"attributions": ["tis"], "judges": ["vit"], "by": ["method"], "measures": ["probability"]}
    with pytest.raises(InputError, match="1 files, 1 attributions, 2 extractors, 1 judges: one of each a file"):
        mean_by(tmp_path / "mean.parquet", [path], extractors=["cnn/0"] * 2, **named)
    for word in ("cnn/", "cnn/x", "cnn/0/1"):
        with pytest.raises(InputError, match=f"extractor '{word}'"):
            mean_by(tmp_path / "mean.parquet", [path], extractors=[word], **named)


def test_rows_without_a_judge_are_of_the_judges_mean(tmp_path, rng):
    """Two judges and two trainings: the estimates of the images' means over judges."""
    drawn = rng.normal(size=(2, 2, 2, 6)).astype(np.float32)  # judge, training, n, image; as tables have them
    files, named = [], {"judges": [], "extractors": []}
    for judge, training in np.ndindex(2, 2):
        rows = [
            {"key": f"k{image}", "n": n, "a": drawn[judge, training, n, image]} for n in (0, 1) for image in range(6)
        ]
        files.append(tmp_path / f"{judge}{training}.parquet")
        write_table(files[-1], pa.Table.from_pylist(rows, pa.schema({"key": "string", "n": "int64", "a": "float32"})))
        named["judges"].append(("vit", "resnet")[judge])
        named["extractors"].append(f"cnn/{training}")
    options = {"attributions": ["tis"] * 4, "by": ["n"], "measures": ["a"]}
    mean_by(tmp_path / "mean.parquet", files, **named, **options)
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    assert [(row["judge"], row["training"], row["n"]) for row in found] == [
        (judge, training, n) for judge in ("vit", "resnet", None) for training in (0, 1, None) for n in (0, 1)
    ]
    drawn = drawn.astype(np.float64)
    pooled = over_trainings(drawn.mean(0))
    for row in found[-2:]:
        expected = (pooled.mean[row["n"]], pooled.low[row["n"]], pooled.high[row["n"]])
        near = (pytest.approx(value, rel=1e-12) for value in expected)
        assert (row["a"], row["a_low"], row["a_high"], row["samples"]) == (*near, 6)
    for row in found[-6:-2]:
        values = drawn.mean(0)[row["training"], row["n"]]
        ends = mean_intervals(values[None], 2000, seed=0)
        assert (row["a"], row["a_low"], row["a_high"]) == pytest.approx((values.mean(), *np.ravel(ends)))
    assert [row["a"] for row in found[:2]] == pytest.approx(drawn[0, 0].mean(1))

    write_table(files[2], read_table(files[2]).slice(0, 11))
    write_table(files[3], read_table(files[3]).slice(0, 11))
    with pytest.raises(InputError, match="cnn, judge resnet: not the same trainings, images and settings as judge vit"):
        mean_by(tmp_path / "mean.parquet", files, **named, **options)


def test_the_unmasked_probability_is_the_masked_one_less_the_change(tmp_path):
    columns = {"key": ["a", "b"], "n": [1, 1], "probability": [0.5, 0.25], "probability_change": [-0.25, -0.75]}
    write_table(tmp_path / "rows.parquet", pa.table(columns))
    of_file = {"attributions": ["tis"], "extractors": ["cnn/0"], "judges": ["vit"]}
    measures = ["unmasked_probability", "probability"]
    mean_by(tmp_path / "mean.parquet", [tmp_path / "rows.parquet"], **of_file, by=["n"], measures=measures)
    row, _ = read_table(tmp_path / "mean.parquet").to_pylist()
    assert (row["unmasked_probability"], row["probability"]) == (0.875, 0.375)
    assert (row["unmasked_probability_low"], row["unmasked_probability_high"]) == (0.75, 1.0)
    assert "probability_change" not in row

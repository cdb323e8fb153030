"""Metrics: means taken by hand, each with the interval of its own rows."""

import numpy as np
import pyarrow as pa
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.intervals import mean_intervals
from cortex.evaluate.metrics import accuracy_at, mean_by


def test_accuracy_by_hand(tmp_path):
    for name, rank in (("a", [0, 1, 0, 3]), ("b", [0, 0])):
        split = ["test"] * len(rank)
        write_table(tmp_path / f"{name}.parquet", pa.table({"split": split, "rank": rank}))
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    accuracy_at(tmp_path / "accuracy.parquet", files, of="extractor", names=["cnn/0", "cnn/1"], k=[1, 2])
    # Of four resampled images, none is right in 1 of 16 resamples, so 0 and 1 are in a 95 % interval about a half.
    assert [tuple(row.values()) for row in read_table(tmp_path / "accuracy.parquet").to_pylist()] == [
        ("cnn", 0, "test", 1, 0.5, 0.0, 1.0, 4),
        ("cnn", 0, "test", 2, 0.75, 0.25, 1.0, 4),
        ("cnn", 1, "test", 1, 1.0, 1.0, 1.0, 2),
        ("cnn", 1, "test", 2, 1.0, 1.0, 1.0, 2),
    ]
    accuracy_at(tmp_path / "accuracy.parquet", files[1:], of="judge", names=["vit"], k=[1])
    columns = ("judge", "split", "k", "accuracy", "accuracy_low", "accuracy_high", "samples")
    (row,) = read_table(tmp_path / "accuracy.parquet").to_pylist()
    assert row == dict(zip(columns, ("vit", "test", 1, 1.0, 1.0, 1.0, 2), strict=True))


def test_means_are_over_images_not_over_shards(tmp_path):
    files = []
    for shard, values in enumerate([[1.0, 2.0, 3.0], [10.0]]):
        files.append(tmp_path / f"{shard}.parquet")
        columns = {"method": ["importance"] * len(values), "n": [5] * len(values), "probability": values}
        write_table(files[-1], pa.table(columns))
    other = tmp_path / "other.parquet"
    write_table(other, pa.table({"method": ["importance"], "n": [5], "probability": [0.25]}))
    mean_by(
        tmp_path / "mean.parquet",
        [*files, other],
        attributions=["tis", "tis", "tis"],
        extractors=["cnn/0", "cnn/0", "cnn/1"],
        judges=["vit", "vit", "vit"],
        by=["method", "n"],
        measures=["probability"],
    )
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    alone = {"probability_low": 0.25, "probability_high": 0.25}  # one image has no spread
    assert 1 <= found[0].pop("probability_low") < 2 and 5 < found[0].pop("probability_high") <= 10
    assert found == [
        {
            "attribution": "tis",
            "extractor": "cnn",
            "training": 0,
            "judge": "vit",
            "method": "importance",
            "n": 5,
            "samples": 4,
            "probability": 4.0,
        },
        {
            "attribution": "tis",
            "extractor": "cnn",
            "training": 1,
            "judge": "vit",
            "method": "importance",
            "n": 5,
            "samples": 1,
            "probability": 0.25,
        }
        | alone,
    ]


def test_attributions_are_averaged_apart(tmp_path):
    """Two attributions of one extractor and judge, and a level that depends on none."""
    for name, values in (("a", [1.0, 3.0]), ("b", [5.0])):
        write_table(tmp_path / f"{name}.parquet", pa.table({"method": ["importance"] * len(values), "x": values}))
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    named = {"extractors": ["cnn/0"] * 2, "judges": ["vit"] * 2, "by": ["method"], "measures": ["x"]}
    mean_by(tmp_path / "mean.parquet", files, attributions=["tis", "occlusion"], **named)
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    assert [(row["attribution"], row["samples"], row["x"]) for row in found] == [("tis", 2, 2.0), ("occlusion", 1, 5.0)]
    mean_by(tmp_path / "mean.parquet", files, attributions=[None, None], **named)
    (row,) = read_table(tmp_path / "mean.parquet").to_pylist()
    assert (row["attribution"], row["samples"], row["x"]) == (None, 3, 3.0)


def test_every_mean_has_the_interval_of_its_own_rows(tmp_path, rng):
    """Settings of unlike numbers of images, one of them null, in two files: each as if it had been alone."""
    rows = [
        {"method": method, "top_n": n, "a": value, "b": 10 * value}
        for method, n, images in (("importance", 1, 9), ("importance", 5, 9), ("frequency", None, 4))
        for value in rng.normal(size=images)
    ]
    rows = [rows[place] for place in rng.permutation(len(rows))]
    files = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for path, part in zip(files, (rows[:10], rows[10:]), strict=True):
        write_table(path, pa.Table.from_pylist(part))
    named = {"attributions": [None] * 2, "extractors": ["cnn/0"] * 2, "judges": ["vit"] * 2}
    named |= {"by": ["method", "top_n"], "measures": ["a", "b"]}
    mean_by(tmp_path / "mean.parquet", files, **named, resamples=300, seed=5)
    found = read_table(tmp_path / "mean.parquet").to_pylist()
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
    write_table(path, pa.table({"method": ["importance"], "probability": [0.5]}))
    named = {"attributions": ["tis"], "judges": ["vit"], "by": ["method"], "measures": ["probability"]}
    with pytest.raises(InputError, match="1 files, 1 attributions, 2 extractors, 1 judges: one of each a file"):
        mean_by(tmp_path / "mean.parquet", [path], extractors=["cnn/0"] * 2, **named)
    for word in ("cnn/", "cnn/x", "cnn/0/1"):
        with pytest.raises(InputError, match=f"extractor '{word}'"):
            mean_by(tmp_path / "mean.parquet", [path], extractors=[word], **named)

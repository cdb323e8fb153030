"""Validity: accuracies beside the best guess (METHOD.md, section 9)."""

import numpy as np
import pyarrow as pa
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.validity import check_validity


def ranks_of(folder, name, labels, right):
    """Label ranks of images of which so many are recognised, the others as the second most probable class."""
    rank = np.arange(len(labels)) >= right
    write_table(folder / f"{name}.parquet", pa.table({"label": labels, "rank": rank.astype(int)}))
    return folder / f"{name}.parquet"


def checked(folder, **ranks):
    check_validity(folder / "validity.parquet", **ranks)
    return read_table(folder / "validity.parquet").to_pylist()


def test_networks_that_guess_are_invalid(tmp_path):
    even, uneven = [0, 1, 2, 3] * 25, [0] * 70 + [1] * 30
    files = [
        ranks_of(tmp_path, "reads", even, 60),
        ranks_of(tmp_path, "guesses", even, 30),
        ranks_of(tmp_path, "says-zero", uneven, 72),
        ranks_of(tmp_path, "worse", even, 3),
    ]
    rows = checked(
        tmp_path,
        extractors=["cnn/0", "cnn/1", "wide/0"],
        extractor_ranks=files[:3],
        judges=("vit",),
        judge_ranks=(files[3],),
    )
    assert [(row["kind"], row["name"], row["training"]) for row in rows] == [
        ("extractor", "cnn", 0),
        ("extractor", "cnn", 1),
        ("extractor", "wide", 0),
        ("judge", "vit", None),
    ]
    assert [row["accuracy"] for row in rows] == [0.6, 0.3, 0.72, 0.03]
    assert [row["chance"] for row in rows] == [0.25, 0.25, 0.7, 0.25]
    assert [row["valid"] for row in rows] == [True, False, False, False]
    error = np.sqrt(0.6 * 0.4 / 100)
    assert (rows[0]["low"], rows[0]["high"]) == pytest.approx((0.6 - 1.96 * error, 0.6 + 1.96 * error), abs=0.02)


def test_a_run_without_judges_has_extractors_alone(tmp_path):
    (row,) = checked(tmp_path, extractors=["cnn/0"], extractor_ranks=[ranks_of(tmp_path, "one", [0, 1], 2)])
    assert (row["accuracy"], row["low"], row["high"], row["chance"], row["valid"]) == (1, 1, 1, 0.5, True)
    with pytest.raises(InputError, match="0 names of judges, 1 files: one for each is needed"):
        checked(
            tmp_path,
            extractors=["cnn/0"],
            extractor_ranks=[tmp_path / "one.parquet"],
            judge_ranks=(tmp_path / "one.parquet",),
        )

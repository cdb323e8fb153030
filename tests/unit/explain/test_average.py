"""Averages over trainings: each image's scores in units of their own spread."""

from dataclasses import replace

import numpy as np
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.shard_reader import Sample
from cortex.data.tokens import read_tokens, write_tokens
from cortex.explain.average import average_importance
from tests.tables import write_samples

SCORES = {
    "0": [[0.0, 0.0, 0.0, 4.0], [1.0, 2.0, 3.0, 4.0]],
    "1": [[300.0, 100.0, 100.0, 100.0], [0.1, 0.1, 0.1, 0.1]],  # of another scale; of one that ranks nothing
}


@pytest.fixture
def files(tmp_path):
    samples = [Sample(f"k{place}", place, np.arange(4, dtype=np.uint16).reshape(2, 2)) for place in range(2)]
    return [
        write_samples(tmp_path / f"{name}.parquet", samples, importance=np.array(scores, np.float32))
        for name, scores in SCORES.items()
    ]


def test_the_average_by_hand(files, tmp_path):
    average_importance(tmp_path / "average.parquet", files)
    found = read_tokens(tmp_path / "average.parquet", ["importance"])
    spreads = [np.sqrt(3), 50 * np.sqrt(3), np.sqrt(1.25)]  # of 0 0 0 4, of 300 100 100 100, and of 1 2 3 4
    first = [300 / spreads[1] / 2, *[100 / spreads[1] / 2] * 2, (4 / spreads[0] + 100 / spreads[1]) / 2]
    assert found.scores["importance"][0].tolist() == pytest.approx(first)
    assert found.scores["importance"][0].argmax() in (0, 3), "the trainings count the same"
    assert found.scores["importance"][1].tolist() == pytest.approx([n / spreads[2] / 2 for n in (1, 2, 3, 4)])
    assert read_table(tmp_path / "average.parquet").column_names == ["key", "label", "tokens", "importance"]
    of_training = read_tokens(files[0])
    assert found.keys == of_training.keys
    assert found.labels.tolist() == of_training.labels.tolist()
    assert found.tokens.tolist() == of_training.tokens.tolist()


def test_the_average_of_one_scale_and_its_multiple_is_theirs(tmp_path, files):
    table = read_tokens(files[0], ["importance"])
    write_tokens(tmp_path / "scaled.parquet", replace(table, scores={"importance": 7 * table.scores["importance"]}))
    average_importance(tmp_path / "average.parquet", [files[0], tmp_path / "scaled.parquet"])
    found = read_tokens(tmp_path / "average.parquet", ["importance"]).scores["importance"]
    scores = table.scores["importance"]
    np.testing.assert_allclose(found, scores / scores.std(1, keepdims=True), rtol=1e-6)


def test_scores_of_other_images_are_refused(tmp_path, files):
    other = [Sample(f"k{place}", place, np.zeros((2, 2), np.uint16)) for place in (1, 0)]
    path = write_samples(tmp_path / "other.parquet", other, importance=np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match=r"other.parquet: not of the same images, in the same order, as .*0.parquet"):
        average_importance(tmp_path / "average.parquet", [files[0], path])
    assert not (tmp_path / "average.parquet").exists()

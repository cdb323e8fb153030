"""Ranks of labels among logits, of judges and by hand; those of extractors are beside the importance."""

import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.evaluate.accuracy import label_ranks, rank_by_judge
from cortex.judges.judge import load_judge
from tests.unit.evaluate.by_hand import CPU


def test_label_ranks_by_hand():
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    assert label_ranks(logits, torch.tensor([1, 0, 2])).tolist() == [0, 2, 2]
    assert label_ranks(torch.zeros(2, 3), torch.tensor([1, 0])).tolist() == [2, 2], "a tie is no recognition"


def test_labels_are_ranked_by_a_judge(run):
    folder, samples, _ = run
    tables, images = [folder / "importance.parquet"], [folder / "000000.npy"]
    options = {"split": "test", "batch": 4, "device": "cpu"}
    rank_by_judge(folder / "rows.parquet", tables, images, folder / "judge.safetensors", **options)
    judge = load_judge(folder / "judge.safetensors", CPU)
    for row, sample in zip(read_table(folder / "rows.parquet").to_pylist(), samples, strict=True):
        logits = judge.logits(torch.from_numpy(sample.image)[None])[0].tolist()
        order = sorted(range(10), key=lambda label: -logits[label])
        assert (row["split"], row["key"], row["label"]) == ("test", sample.key, sample.label)
        assert (row["predicted"], row["rank"]) == (order[0], order.index(sample.label))
    with pytest.raises(InputError, match="1 token tables, 2 files of images: one for each is needed"):
        rank_by_judge(folder / "rows.parquet", tables, images * 2, folder / "judge.safetensors", **options)

"""The bench's second table, which needs a GPU, is made on a CPU at sizes at which it takes no time."""

import math

import torch

from cortex.extractors.settings import CnnSettings, ResnetSettings, TransformerSettings
from cortex.generators.spec import GeneratorSpec
from tests.bench.gpu import Sizes, on_gpu

TINY = Sizes(
    facts=GeneratorSpec(("ant", "bee", "cat"), (8, 8), 24, 6),
    extractors={
        "cnn": CnnSettings(network="cnn", width=8, hidden=16, batch=4),
        "resnet": ResnetSettings(network="resnet", width=16, hidden=16, batch=4),
        "transformer": TransformerSettings(network="transformer", width=8, layers=1, heads=2, mlp=8, hidden=8, batch=4),
    },
    gpt={"vocab_size": 24, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16},
    explained=3,
    steps=2,
    drawn=4,
    drawn_by_cat=2,
)


def test_the_rows_of_a_gpu(monkeypatch):
    for rate in ("product_rate", "copy_rate"):
        monkeypatch.setattr(f"tests.bench.gpu.{rate}", lambda device: 1e12)
    rows = list(on_gpu(torch.device("cpu"), TINY))
    assert [row.path.split(",")[0] for row in rows] == [
        "a product",
        "a copy",
        *["importance", "training step"] * 3,
        "sampling",
    ]
    assert [row.path.split(", ")[1] for row in rows[2:8:2]] == list(TINY.extractors)
    for row in rows:
        assert float(row.rate.split()[0]) > 0
        assert row.ratio is None or (math.isfinite(row.ratio) and row.ratio > 0)
        assert row.path in row.line()
    assert "reading keys and values" in rows[-1].bound

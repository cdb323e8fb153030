"""What several test files share: a test shard's files, random numbers."""

import numpy as np
import pytest
import torch

from cortex.core.weights import write_weights
from cortex.data.decoded import decode_images
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.judges.networks import ResNet
from tests.tables import write_samples
from tests.unit.evaluate.by_hand import CODES


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def run(tmp_path, rng):
    """A test shard as its importance file and decoded images, and a judge."""
    samples = [
        Sample(
            f"test-{label:04d}-{index:06d}",
            label,
            rng.integers(0, CODES, (8, 8)).astype(np.uint16),
            rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
        )
        for index in range(3)
        for label in (1, 4)
    ]
    write_shard(tmp_path / "000000.tar", samples)
    decode_images(tmp_path / "000000.npy", tmp_path / "000000.tar")
    scores = rng.normal(size=(6, 64)).astype(np.float32)
    write_samples(tmp_path / "importance.parquet", samples, importance=scores)
    torch.manual_seed(0)
    write_weights(tmp_path / "judge.safetensors", ResNet().state_dict(), {"judge": "resnet"})
    return tmp_path, samples, scores

"""A judge is a plain classifier, loaded from its file."""

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.weights import write_weights
from cortex.judges.judge import load_judge
from cortex.judges.networks import ResNet, ViT

CPU = torch.device("cpu")


@pytest.mark.parametrize("network", [ResNet, ViT])
def test_a_judge_is_a_plain_classifier(network, tmp_path):
    torch.manual_seed(0)
    model = network().eval()
    write_weights(tmp_path / "judge.safetensors", model.state_dict(), {"judge": network.__name__.lower()})
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    scaled = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model(scaled)
    logits = load_judge(tmp_path / "judge.safetensors", CPU).logits(torch.from_numpy(images))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    write_weights(tmp_path / "other.safetensors", model.state_dict(), {})
    with pytest.raises(InputError, match=r"other.safetensors: not a judge's weights"):
        load_judge(tmp_path / "other.safetensors", CPU)

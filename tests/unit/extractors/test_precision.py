"""Mixed precision and compiled networks: the same training, in other arithmetic."""

import shutil

import pytest
import torch

from cortex.core.weights import read_weights
from cortex.extractors import train
from cortex.extractors.network import build_extractor
from cortex.extractors.train import classify
from tests.training import SMALL, run_training


def first_step(name, precision):
    """Loss and gradient of a new network's first batch."""
    torch.manual_seed(0)
    network = build_extractor(name, channels=5, classes=3, grid=(8, 8), dropout=0.0, **SMALL[name])
    grids, labels = torch.randint(0, 4, (64, 8, 8)), torch.randint(0, 3, (64,))
    loss = torch.nn.functional.cross_entropy(classify(network, torch.eye(4, 5), grids, precision), labels)
    (loss * 256).backward()
    return loss.item(), torch.cat([weight.grad.flatten() for weight in network.parameters()]) / 256


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 0.9), ("float16", 0.98)])
def test_gradients_point_where_those_of_float32_do(name, precision, least):
    (exact_loss, exact), (loss, gradient) = first_step(name, "float32"), first_step(name, precision)
    assert loss == pytest.approx(exact_loss, rel=1e-2)
    assert torch.nn.functional.cosine_similarity(exact, gradient, 0).item() > least
    assert not torch.equal(exact, gradient)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_the_weights_of_a_training_in_mixed_precision_are_float32(tmp_path, tiny_data, name, precision):
    output, history = run_training(tmp_path, tiny_data, name, precision=precision)
    assert history["train_loss"][-1].as_py() < history["train_loss"][0].as_py()
    assert {tensor.dtype for tensor in read_weights(output)[0].values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_layers_compute_in_the_precision_and_logits_are_float32(name, precision):
    network = build_extractor(name, channels=5, classes=3, grid=(8, 8), **SMALL[name]).eval()
    last = network.fc if name == "transformer" else network.fc3 if name.startswith("cnn") else network.fc2
    computed = []
    last.register_forward_hook(lambda module, inputs, output: computed.append(output.dtype))
    grids = torch.randint(0, 4, (2, 8, 8))
    assert classify(network, torch.eye(4, 5), grids, precision).dtype == torch.float32
    assert computed == [getattr(torch, precision)]


@pytest.mark.parametrize("name", SMALL)
def test_on_a_cpu_all_is_float32_unless_asked_otherwise(tmp_path, tiny_data, name):
    asked, _ = run_training(tmp_path, tiny_data, name, epochs=1, precision="float32")
    content = asked.read_bytes()
    default, _ = run_training(tmp_path, tiny_data, name, epochs=1)
    assert default.read_bytes() == content


def test_float16_leaves_out_steps_whose_scaled_gradients_overflow(tmp_path, tiny_data, monkeypatch):
    """The scale starts far too high, and is halved until gradients fit; no weight is lost to an overflow."""
    scaler, scales = torch.amp.GradScaler, []

    class Scaler(scaler):
        def __init__(self, device, enabled):
            super().__init__(device, init_scale=2.0**40, enabled=enabled)

        def update(self):
            scales.append(self.get_scale())
            super().update()

    monkeypatch.setattr(train.torch.amp, "GradScaler", Scaler)
    output, _ = run_training(tmp_path, tiny_data, "transformer", epochs=6, precision="float16")
    assert scales[:3] == [2.0**40, 2.0**39, 2.0**38]
    assert scales[-1] == scales[-2] < 2.0**30
    assert all(tensor.isfinite().all() for tensor in read_weights(output)[0].values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own compiler uses what torch deprecates
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["cnn", "transformer"])
def test_a_compiled_network_learns_the_same(tmp_path, tiny_data, name):
    settings = {"epochs": 2, "dropout": 0.0, "learning_rate": 1e-4}
    _, plain = run_training(tmp_path, tiny_data, name, **settings)
    output, compiled = run_training(tmp_path, tiny_data, name, **settings, compile=True)
    for column in ("train_loss", "val_loss"):
        assert compiled[column].to_pylist() == pytest.approx(plain[column].to_pylist(), rel=1e-3)
    assert not any(name.startswith("_orig_mod") for name in read_weights(output)[0])

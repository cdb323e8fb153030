"""How many inputs a backward pass takes: by hand, and the memory that the published transformer then takes."""

import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from cortex.core import memory
from cortex.core.memory import inputs_at_once, kept_bytes
from cortex.explain.importance import token_importance
from cortex.extractors.network import build_extractor
from tests.pipeline import CHECKOUT
from tests.unit.explain.by_hand import SETTINGS, extractor


class Square(nn.Module):
    """Its backward pass keeps the input of 6 numbers, and the product with a weight, of 6 more."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100_000), requires_grad=False)

    def forward(self, inputs):
        return (inputs.square() * self.weight[0]).exp()


@pytest.mark.parametrize(("bound", "inputs"), [(48, 1), (95, 1), (96, 2), (1000, 20), (1, 1)])
def test_the_bound_is_divided_by_what_one_input_keeps(monkeypatch, bound, inputs):
    """48 bytes: the input and the result. The weight, which is the network's own, does not count."""
    monkeypatch.setattr(memory, "ON_CPU", bound)
    assert inputs_at_once(Square(), torch.zeros(5, 6)) == inputs


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_counted_without_numbers_is_what_a_training_step_keeps(name):
    """A hook of its own, on a network with numbers, sees as many bytes as are counted on the meta device."""
    network, inputs, kept = build_extractor(name, **SETTINGS[name]).train(), torch.randn(6, 5, 8, 8), {}
    weights = {each.data_ptr() for each in (*network.parameters(), *network.buffers())}

    def see(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        logits = network(inputs.requires_grad_())
    assert sum(kept.values()) > inputs.nbytes and logits.requires_grad
    with torch.device("meta"):
        empty = build_extractor(name, **SETTINGS[name]).train()
    assert kept_bytes(empty, torch.empty(6, 5, 8, 8, device="meta")) == sum(kept.values())


@pytest.mark.parametrize("name", SETTINGS)
def test_scores_are_the_same_in_parts(monkeypatch, name):
    network, embeddings, labels = extractor(name), torch.randn(3, 5, 8, 8), torch.tensor([0, 2, 1])
    whole = token_importance(network, embeddings, labels, [1, 2, 3], samples=5)
    for at_once in (1, 2, 4, 7):
        monkeypatch.setattr("cortex.explain.importance.inputs_at_once", lambda *_, number=at_once: number)
        parts = token_importance(network, embeddings, labels, [1, 2, 3], samples=5)
        torch.testing.assert_close(parts, whole, rtol=1e-4, atol=1e-6)


SCRIPT = """
import resource, torch
from cortex.explain.importance import token_importance
from cortex.extractors.network import build_extractor
network = build_extractor("transformer", channels=256, classes=1000, grid=(16, 16)).eval().requires_grad_(False)
token_importance(network, torch.randn(25, 256, 16, 16), torch.zeros(25, dtype=torch.int64), range(25), samples=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_the_published_transformer_stays_below_the_memory_of_its_rule():
    """25 copies at once would keep 2 GB; a rule's job has the figure below, in MB, for itself and its inputs."""
    text = (CHECKOUT / "rules/explain.smk").read_text().partition("rule importance:")[2]
    declared = int(re.search(r"mem_mb=growing\((\d+)", text).group(1))
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 0.75 * declared  # 20 copies of an image are 0.1 GB more

"""Where torch's private operators are missing, fail or are wrong, its public functions give the same results."""

import logging
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import cortex
from cortex.extractors.network import build_extractor
from cortex.fast import packed_linear, private_ops, region_forward
from cortex.fast.packed_linear import PackedLinear
from cortex.fast.region_forward import RegionForward

REORDERS = ("_reorder_linear_weight", "_reorder_convolution_weight")
PRODUCTS = ("_linear_pointwise", "_convolution_pointwise")


@pytest.fixture(autouse=True)
def small_weights_count_and_the_test_is_new(monkeypatch):
    monkeypatch.setattr(packed_linear, "LARGE", 1)
    monkeypatch.setattr(region_forward, "FILTERED", 1)
    private_ops.available.cache_clear()
    yield
    private_ops.available.cache_clear()


def missing(name, *_):
    raise AttributeError(f"'_OpNamespace' 'mkldnn' object has no attribute {name!r}")


def raising(name, *_):
    raise RuntimeError(f"{name}() expected at most 7 arguments\nbut received 10")


def swap(monkeypatch, broken, put):
    """Let the operator ``broken`` be what ``put`` makes of its name and itself."""
    original = private_ops._operator
    monkeypatch.setattr(
        private_ops, "_operator", lambda name: put(name, original(name)) if name == broken else original(name)
    )


def a_bit_more(name, operator):
    return lambda *arguments: operator(*arguments) * 1.001


def transposed(name, operator):
    return lambda *arguments: operator(*arguments).transpose(0, 1)


def not_numbers(name, operator):
    return lambda *arguments: operator(*arguments) * torch.nan


def of_zeros(name, operator):
    return lambda weights, *arguments: operator(torch.zeros_like(weights), *arguments)


def fails_when_called(name, operator):
    return lambda *arguments: raising(name)


FAILURES = [
    *((name, put) for name in (*REORDERS, *PRODUCTS) for put in (missing, fails_when_called)),
    *((name, put) for name in PRODUCTS for put in (a_bit_more, transposed, not_numbers)),
    *((name, of_zeros) for name in REORDERS),
]


def results():
    """A packed product and a region's logits with their gradient, each beside torch's public formulation."""
    random = torch.Generator().manual_seed(0)
    matrix, bias, x = (torch.randn(shape, generator=random) for shape in ((7, 5), (7,), (3, 5)))
    linear = PackedLinear(matrix, bias)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_extractor("cnn", channels=6, classes=4, grid=(8, 8), width=8, hidden=16)
    network = network.eval().requires_grad_(False)
    embeddings, inside = torch.randn(3, 6, 8, 8, generator=random), torch.randn(3, 2, 2, 6, generator=random)
    targets = torch.tensor([3, 0, 1])
    region = RegionForward(network)
    whole = embeddings.clone()
    whole[:, :, 3:5, 3:5] = inside.permute(0, 3, 1, 2)
    inside.requires_grad_()
    whole.requires_grad_()
    logits = region.target_logits(embeddings, ((3, 5), (3, 5)), targets)(inside)
    expected = network(whole).gather(1, targets[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(logits.sum(), inside)
    (of_whole,) = torch.autograd.grad(expected.sum(), whole)
    private = linear.packs, *(layer.filters is not None for layer, _ in region.layers)
    pairs = [
        (linear(x), F.linear(x, matrix, bias)),
        (logits, expected),
        (gradient, of_whole[:, :, 3:5, 3:5].permute(0, 2, 3, 1)),
    ]
    return private, pairs


def test_the_operators_of_this_torch_work(caplog):
    caplog.set_level(logging.INFO)
    private, pairs = results()
    assert all(private) and not caplog.records
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("broken", "put"), FAILURES, ids=lambda value: getattr(value, "__name__", value))
def test_without_one_of_them_the_results_are_those_of_the_public_functions(monkeypatch, caplog, broken, put):
    caplog.set_level(logging.INFO)
    swap(monkeypatch, broken, put)
    private, pairs = results()
    assert not any(private)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(*pairs[0]), "the product is the public one"
    (record,) = caplog.records  # one line, though three layers asked
    assert record.levelno == logging.INFO and "public functions are used" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_without_onednn_they_are_not_called(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(private_ops, "_operator", raising)
    private, _ = results()
    assert not any(private)
    assert "without oneDNN" in caplog.text


@pytest.mark.parametrize(("device", "dtype"), [("meta", torch.float32), ("cpu", torch.float64)], ids=str)
def test_other_weights_do_not_ask_for_them(device, dtype):
    assert not PackedLinear(torch.empty(7, 5, device=device, dtype=dtype)).packs
    assert private_ops.available.cache_info().misses == 0


def test_the_test_of_the_operators_leaves_no_trace():
    """Whatever the first use stands in: the random numbers, the default device, autocast and gradients stay."""
    before = torch.get_rng_state()
    with torch.device("meta"), torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        assert private_ops.available()
    assert torch.equal(torch.get_rng_state(), before)


def test_no_other_module_names_a_private_operator():
    package = Path(cortex.__file__).parent
    naming = {str(path.relative_to(package)) for path in package.rglob("*.py") if "torch.ops" in path.read_text()}
    assert naming == {"fast/private_ops.py"}

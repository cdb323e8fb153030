"""A network as a function of one region of its input, against the whole network."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cortex.extractors.network import build_extractor
from cortex.fast import packed_linear, region_forward
from cortex.fast.packed_linear import PackedLinear
from cortex.fast.region_forward import RegionForward, is_convolutional
from cortex.fast.winograd import WinogradConvolution


@st.composite
def spans(draw, size):
    start = draw(st.integers(0, size - 1))
    return start, draw(st.integers(start + 1, size))


PAPER = {"channels": 256, "classes": 1000, "grid": (16, 16)}
WINDOWS = st.tuples(spans(9), spans(7))


@given(st.lists(st.tuples(st.integers(1, 9), WINDOWS, WINDOWS), min_size=1, max_size=3))
@example([(9, ((0, 9), (0, 7)), ((0, 9), (0, 7))), (1, ((2, 9), (3, 4)), ((1, 9), (2, 5)))])  # tiles of 4, and of 2
def test_minimal_filtering_is_the_convolution_between_any_windows(calls):
    random = torch.Generator().manual_seed(0)
    kernel = torch.randn(6, 5, 3, 3, generator=random)
    filtered = WinogradConvolution(kernel)
    for batch, source, target in calls:  # of one filter: it holds its weights as the last number of tiles wants them
        (rows, columns), (high, wide) = ((slice(*span) for span in window) for window in (source, target))
        whole = torch.zeros(batch, 5, 9, 7)
        whole[:, :, rows, columns] = torch.randn(whole[:, :, rows, columns].shape, generator=random)
        expected = F.conv2d(whole.double(), kernel.double(), padding=1)[:, :, high, wide]
        found = filtered(whole[:, :, rows, columns].permute(0, 2, 3, 1), source, target).permute(0, 3, 1, 2)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.sampled_from([torch.float32, torch.float64]))
def test_a_packed_product_is_the_product_of_any_number_of_rows(rows, dtype):
    matrix = torch.randn(7, 5, generator=torch.Generator().manual_seed(0)).to(dtype)
    bias = torch.arange(7, dtype=dtype)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed_linear, "LARGE", 1)
        forth, back = PackedLinear(matrix, bias), PackedLinear(matrix.T)
    assert forth.packs == back.packs == (dtype == torch.float32)
    for count in rows:  # of one object: it holds its matrix as the last number of rows wants it
        x = torch.randn(count, 5).to(dtype)
        y = forth(x)
        torch.testing.assert_close(y, x @ matrix.T + bias)
        torch.testing.assert_close(back(y), y @ matrix)


def trained(name, grid, dtype):
    """A network whose norms have seen data, in eval mode."""
    torch.manual_seed(0)
    network = build_extractor(name, channels=6, classes=4, grid=grid, width=8, hidden=16)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_()
            module.momentum = None  # the average of all batches
    for _ in range(3):
        network(torch.randn(16, 6, *grid))
    return network.eval().requires_grad_(False).to(dtype)


@pytest.mark.parametrize("name", ["cnn", "cnn_deep"])
@pytest.mark.parametrize(
    ("grid", "rows", "columns"),
    [
        ((16, 16), (7, 11), (7, 11)),
        ((16, 16), (0, 1), (15, 16)),
        ((8, 8), (2, 6), (2, 6)),
        ((8, 8), (5, 8), (0, 2)),
        ((8, 8), (0, 8), (0, 8)),
        ((7, 13), (6, 7), (11, 13)),  # the last row and column are in no pool
        ((5, 20), (1, 3), (9, 10)),
        ((4, 4), (1, 3), (1, 3)),
    ],
    ids=str,
)
# Float32 is done by minimal filtering, which is for networks of any width here, float64 by plain convolutions.
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-4), (torch.float64, 1e-9)], ids=str)
def test_a_region_of_the_network_is_the_network(monkeypatch, name, grid, rows, columns, dtype, close):
    monkeypatch.setattr(region_forward, "FILTERED", 1)
    monkeypatch.setattr(packed_linear, "LARGE", 1)
    network = trained(name, grid, dtype)
    random = torch.Generator().manual_seed(1)
    embeddings = torch.randn(6, 6, *grid, generator=random).to(dtype)
    prepared = RegionForward(network)
    assert all((layer.filters is not None) == (dtype == torch.float32) for layer, _ in prepared.layers)
    assert all(layer.product.packs == layer.transposed.packs == (dtype == torch.float32) for layer in prepared.hidden)
    targets = torch.tensor([2, 0, 1, 3, 2, 0])
    logits = prepared.target_logits(embeddings, (rows, columns), targets)
    for _ in range(2):
        inside = torch.randn(6, rows[1] - rows[0], columns[1] - columns[0], 6, generator=random).to(dtype)
        whole = embeddings.clone()
        whole[:, :, slice(*rows), slice(*columns)] = inside.permute(0, 3, 1, 2)
        inside.requires_grad_()
        whole.requires_grad_()
        found, expected = logits(inside), network(whole).gather(1, targets[:, None])[:, 0]
        torch.testing.assert_close(found, expected, rtol=close, atol=close)
        (gradient,) = torch.autograd.grad(found.sum(), inside)
        (of_whole,) = torch.autograd.grad(expected.sum(), whole)
        of_region = of_whole[:, :, slice(*rows), slice(*columns)].permute(0, 2, 3, 1)
        largest = of_region.abs().max().item()
        assert largest > 0.001, "something to compare"
        torch.testing.assert_close(gradient, of_region, rtol=0, atol=close * largest)


def test_networks_without_convolutions_alone_are_left_whole():
    with torch.device("meta"):
        networks = {name: build_extractor(name, **PAPER) for name in ("cnn", "cnn_deep", "resnet")}
    able = {name: is_convolutional(network) for name, network in networks.items()}
    assert able == {"cnn": True, "cnn_deep": True, "resnet": False}


def sequence(*changes):
    """A network of the kind that has a region's forward, but with some of its layers replaced."""
    layers = [nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Flatten(), nn.Linear(8 * 4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 4)]
    for place, layer in changes:
        layers[place] = layer
    return nn.Sequential(*layers)


class Scaled(nn.Sequential):
    """A sequence that does more than its layers do."""

    def forward(self, x):
        return super().forward(x) * 2


def test_a_network_is_convolutional_by_its_layers_and_their_options():
    assert is_convolutional(sequence())
    others = [
        (0, nn.Conv2d(6, 8, 3, 2, padding=1)),
        (0, nn.Conv2d(6, 8, 3, padding=1, padding_mode="reflect")),
        (0, nn.Conv2d(6, 8, 5, padding=2)),
        (1, nn.BatchNorm2d(8, track_running_stats=False)),
        (2, nn.GELU()),
        (3, nn.MaxPool2d(3)),
        (3, nn.ReLU()),
        (8, nn.Linear(16, 4, bias=False)),
        (8, nn.ReLU()),
    ]
    for change in others:
        assert not is_convolutional(sequence(change)), change
    assert not is_convolutional(Scaled(*sequence()))

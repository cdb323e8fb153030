"""The networks that a run trains: any size, and few parameters."""

import pytest
import torch

from cortex.judges.judge import build_judge
from cortex.judges.networks import ResidualBlock, ResNet


@pytest.mark.parametrize("name", ["vit", "resnet"])
@pytest.mark.parametrize("size", [8, 24, 32, 64, 96])
def test_every_size_has_logits_and_gradients(name, size):
    torch.manual_seed(0)
    network = build_judge(name, {"classes": 7, "size": size})
    images = torch.randn(3, 3, size, size, requires_grad=True)
    logits = network(images)
    assert logits.shape == (3, 7)
    logits.sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())
    assert (images.grad.abs().amax((1, 2, 3)) > 0).all()


@pytest.mark.parametrize(
    ("size", "widths"), [(8, [16]), (32, [16, 32, 64]), (64, [16, 32, 64, 128]), (40, [16, 32, 64, 128])]
)
def test_the_stages_of_the_resnet_end_at_four_positions(size, widths):
    network = ResNet(size=size)
    blocks = [block for block in network.stages if isinstance(block, ResidualBlock)]
    assert [block.conv2.out_channels for block in blocks] == widths
    side = network.stages(network.stem(torch.zeros(2, 3, size, size))).shape[2]
    assert side <= 4 and (len(widths) == 1 or 2 * side > 4)


def test_the_judges_of_land_use_have_at_most_a_million_parameters():
    """As docs/landuse.md trains them."""
    for name, shape in (("vit", {"width": 128, "layers": 6, "heads": 4}), ("resnet", {"width": 24})):
        network = build_judge(name, {"classes": 10, "size": 64, **shape})
        assert sum(weight.numel() for weight in network.parameters()) <= 1_000_000, name

"""The networks that a run trains: any size, and few parameters."""

import shlex
from pathlib import Path

import pytest
import torch

import cortex
from cortex.data.landuse import CLASS_NAMES, photographs
from cortex.judges import judge_settings
from cortex.judges.judge import build_judge, load_judge
from cortex.judges.networks import ResidualBlock, ResNet
from tests.pipeline import CHECKOUT


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


@pytest.mark.parametrize("network", ["landuse_vit", "landuse_resnet"])
def test_the_judges_of_land_use_read_the_photographs_that_ship(network):
    """At least 93 % of all 3,000 held-out photographs, as the weights state, and so of these 300 of them."""
    judge = load_judge(judge_settings(network)(network=network).file(), torch.device("cpu"))
    images, labels = photographs()
    read = judge.logits(torch.from_numpy(images)).argmax(1).numpy()
    assert judge.class_names == CLASS_NAMES
    assert (read == labels).mean() >= 0.93
    assert judge.held_out_top1 >= 0.93
    assert min((read == labels)[labels == label].mean() for label in range(10)) >= 0.8


def test_the_judges_of_land_use_are_as_the_page_trains_them():
    """The commands of docs/pictures.md: their settings are valid, and give networks of at most a million parameters."""
    text = (CHECKOUT / "docs" / "pictures.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if "bundled/landuse" in line]
    found = set()
    for _, command, *words in commands:
        options = {
            name.removeprefix("--").replace("-", "_"): value
            for name, value in zip(words[::2], words[1::2], strict=True)
        }
        assert command == "train-judge" and options.pop("half") == "True"
        output, network = Path(options.pop("output")), options["network"]
        assert (CHECKOUT / options["class_names"]).is_file() and options.pop("history")
        settings = judge_settings(network).model_validate(options, strict=False)
        built = build_judge(network, {"classes": 10, **settings.network_arguments()})
        assert sum(weight.numel() for weight in built.parameters()) <= 1_000_000
        assert judge_settings(output.stem)(network=output.stem).file() == Path(cortex.__file__).parents[1] / output
        found.add(output.stem)
    assert found == {"landuse_vit", "landuse_resnet"}

"""Judges are found by name, know as many classes as their file says, and may come from another package."""

import json

import numpy as np
import pytest
import torch

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.judges import JUDGES, judge_settings
from cortex.judges.judge import build_judge, load_judge
from cortex.judges.networks import ResNet, ViT
from cortex.judges.pretrained import pretrained_judge
from cortex.judges.settings import ImageNetJudge, ViTJudge
from cortex.judges.stated import StatedJudge
from cortex.judges.train import train_judge
from tests.pipeline import CHECKOUT
from tests.training import JUDGE

CPU = torch.device("cpu")
COLOUR = "methods:MeanColour"


@pytest.fixture(autouse=True)
def plugin(monkeypatch):
    """The other package, which Python can import; no file may ask for it yet."""
    monkeypatch.syspath_prepend(CHECKOUT / "tests" / "plugin")
    monkeypatch.delenv("CORTEX_NETWORKS", raising=False)


@pytest.mark.parametrize("name", JUDGES.names())
def test_our_networks_have_the_settings_that_are_found_without_them(name):
    assert JUDGES.load(name).Settings is judge_settings(name)


def test_a_judge_knows_as_many_classes_as_its_file_says(tmp_path):
    path = tmp_path / "judge.safetensors"
    write_weights(path, ResNet(classes=7).state_dict(), {"judge": json.dumps({"network": "resnet", "classes": 7})})
    assert load_judge(path, CPU).logits(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 7)


def test_files_of_earlier_releases_load(tmp_path):
    """Their entry is the network's name, and their judges know the digits."""
    path = tmp_path / "judge.safetensors"
    write_weights(path, ViT(classes=10).state_dict(), {"judge": "vit"})
    assert load_judge(path, CPU).logits(torch.zeros(2, 32, 32, 3, dtype=torch.uint8)).shape == (2, 10)


def stated(**changes):
    """The entry of a judge's file."""
    return StatedJudge(**{"network": "vit", "arguments": {"classes": 2}, "class_names": ("a", "b")} | changes).as_text()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("vgg", r"judge.safetensors: judge 'vgg': allowed: vit, resnet, vit_b_16, vit_b_32, resnet18, resnet50, eff"),
        ('{"network": "vgg", "classes": 3}', r"judge.safetensors: judge 'vgg': allowed: vit, "),
        ('{"network": "vit"}', r"judge.safetensors: not a judge's weights: its 'judge' is wrong: KeyError"),
        ('{"network": "vit", "classes": "3"}', r"judge.safetensors: not a judge's weights: .*classes = '3'"),
        ('{"network": "vit", "classes": 0}', r"judge.safetensors: not a judge's weights: .*classes = 0"),
        (stated(arguments=3), r"judge.safetensors: not a judge's weights: its 'judge' is wrong: TypeError"),
        (stated(arguments={"classes": 2, "depth": 3}), r"judge.safetensors: not a judge's weights: judge vit: .*depth"),
        (stated(arguments={"classes": 2, "heads": 5}), r"judge.safetensors: not a judge's weights: judge vit: "),
        (stated(network="resnet", arguments={"classes": 0}), r"judge.safetensors: \d+ missing weights: "),
        (stated(network="resnet", arguments={"classes": -1}), r"judge.safetensors: not a judge's weights: .*-1"),
        (stated(class_names=[1, 2]), r"judge.safetensors: not a judge's weights: .*class_names are text"),
        (stated(outputs=[0, 2]), r"judge.safetensors: not a judge's weights: .*outputs = \(0, 2\)"),
        (stated(outputs=[0, -2]), r"judge.safetensors: not a judge's weights: .*outputs = \(0, -2\)"),
        (stated(held_out_top1=1.5), r"judge.safetensors: not a judge's weights: .*held_out_top1 = 1.5"),
        ('{"network": "vit', r"judge.safetensors: not a judge's weights: its 'judge' is wrong: JSONDecodeError"),
        (COLOUR, r"judge.safetensors: its judge is 'methods:MeanColour', which is imported only if .* CORTEX"),
        (
            '{"network": "os:system", "classes": null}',
            r"judge.safetensors: its judge is 'os:system', which is imported only if",
        ),
    ],
)
def test_what_a_file_states_wrongly_is_told(tmp_path, entry, told):
    write_weights(tmp_path / "judge.safetensors", {}, {"judge": entry})
    with pytest.raises(InputError, match=told) as error:
        load_judge(tmp_path / "judge.safetensors", CPU)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("own_file", [False, True])
def test_a_judge_from_elsewhere_judges(tmp_path, monkeypatch, own_file):
    prototypes = torch.linspace(-1, 1, 10)[:, None].repeat(1, 3)
    arguments = ["--network", COLOUR, "--output", str(tmp_path / "judge.safetensors")]
    if own_file:
        prototypes = prototypes.flip(0)
        write_weights(tmp_path / "mine.safetensors", {"prototypes": prototypes}, {})
        arguments += ["--weights", str(tmp_path / "mine.safetensors")]
    assert main(["pretrained-judge", *arguments]) == 0
    _, metadata = read_weights(tmp_path / "judge.safetensors")
    found = json.loads(metadata["judge"])
    assert (found["network"], found["arguments"], found["class_names"]) == (COLOUR, {"classes": 10}, [])
    images = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3)).astype(np.uint8)
    images[3] = 255
    with pytest.raises(InputError, match="CORTEX_NETWORKS names it"):
        load_judge(tmp_path / "judge.safetensors", CPU)
    monkeypatch.setenv("CORTEX_NETWORKS", COLOUR)
    logits = load_judge(tmp_path / "judge.safetensors", CPU).logits(torch.from_numpy(images))
    colours = images.mean((1, 2)) / 127.5 - 1
    expected = -np.linalg.norm(colours[:, None] - prototypes.numpy(), axis=2)
    np.testing.assert_allclose(logits.numpy(), expected, atol=1e-5)
    assert logits[3].argmax() == (0 if own_file else 9)


def test_a_network_is_trained_or_comes_with_weights(tmp_path):
    with pytest.raises(InputError, match=r"judge network vit: no published weights; cortex train-judge trains it"):
        pretrained_judge(tmp_path / "judge", settings=ViTJudge(**JUDGE))
    with pytest.raises(InputError, match=r"judge network resnet18: comes with weights; cortex pretrained-judge"):
        train_judge(tmp_path / "judge", tmp_path / "history", settings=ImageNetJudge(network="resnet18"))
    with pytest.raises(InputError, match=r"judge torch.nn:Linear: .*classes"):
        build_judge("torch.nn:Linear", {"classes": 3})

"""The perceptual distance, and the training of its network."""

import os
import signal

import pytest
import torch
from torch.nn import functional as F

from cortex.core.errors import StoppedError
from cortex.data.pictures import Pictures
from cortex.recipes import loop, perceptual
from cortex.recipes.perceptual import STAGES, PerceptualDistance, perceptual_distance
from tests.unit.recipes.conftest import TINY

CPU = torch.device("cpu")
RECIPE = TINY.model_copy(update={"perceptual_epochs": 3})


@pytest.fixture
def pictures(stripes, monkeypatch):
    """48 pictures of stripes, learned in batches of 8."""
    images, labels = stripes
    monkeypatch.setattr(perceptual, "BATCH", 8)
    return Pictures(images, labels.numpy(), ("horizontal", "vertical"), tuple(map(str, range(48))), "stripes")


def train(pictures, state, recipe=RECIPE):
    return perceptual_distance(
        pictures, pictures, recipe=recipe, device=CPU, state=state, identity=recipe.model_dump(mode="json")
    )


def test_the_distance_is_that_of_features_in_units_of_their_mean_variance():
    """Against features hooked from the network's own forward pass, summed channel by channel."""
    distance = PerceptualDistance().eval().requires_grad_(False)
    random = torch.Generator().manual_seed(0)
    ours = (torch.rand(2, 3, 64, 64, generator=random) * 2 - 1).requires_grad_()
    theirs = torch.rand(2, 3, 64, 64, generator=random) * 2 - 1
    outputs: dict[int, list[torch.Tensor]] = {number: [] for number in STAGES}
    blocks = distance.network._blocks
    hooks = [
        blocks[number].register_forward_hook(lambda _, __, output, at=number: outputs[at].append(output))
        for number in STAGES
    ]
    with torch.no_grad():
        for images in (ours, theirs):
            distance.network((images - distance.mean) / distance.deviation)
    for hook in hooks:
        hook.remove()
    expected = 0.0
    for first, second in outputs.values():
        channels = range(first.shape[1])
        errors = sum(F.mse_loss(first[:, channel], second[:, channel]).item() for channel in channels)
        expected += errors / sum(second[:, channel].var().item() for channel in channels) / len(STAGES)
    found = distance(ours, theirs)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert ours.grad is not None
    assert ours.grad.abs().sum() > 0
    assert distance(theirs, theirs).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
def test_the_network_learns_the_classes_of_the_pictures(pictures, tmp_path):
    distance, history = train(pictures, tmp_path / "state")
    assert [(row["stage"], row["epoch"]) for row in history] == [
        ("perceptual", 1),
        ("perceptual", 2),
        ("perceptual", 3),
    ]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    logits = distance.logits(torch.from_numpy(pictures.images).permute(0, 3, 1, 2) / 127.5 - 1)
    assert logits.shape == (48, 2)
    assert (logits.argmax(1).numpy() == pictures.labels).mean() == pytest.approx(history[-1]["held_out_top1"])
    assert not distance.training
    assert not any(weight.requires_grad for weight in distance.parameters())


@pytest.mark.slow
def test_an_interrupted_training_ends_at_the_same_weights(pictures, tmp_path, monkeypatch):
    recipe = RECIPE.model_copy(update={"perceptual_epochs": 1})
    whole, _ = train(pictures, tmp_path / "whole", recipe)
    measured = loop.Loop.steps

    def interrupted(self):
        for rows in measured(self):
            if self.step == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            yield rows

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "steps", interrupted)
        with pytest.raises(StoppedError, match="perceptual, in epoch 1, after 2 of its 6 steps"):
            train(pictures, tmp_path / "state", recipe)
    resumed, _ = train(pictures, tmp_path / "state", recipe)
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_without_epochs_the_network_stays_that_of_imagenet(pictures, tmp_path):
    distance, history = train(pictures, tmp_path / "state", RECIPE.model_copy(update={"perceptual_epochs": 0}))
    assert history == []
    for name, weight in PerceptualDistance().state_dict().items():
        assert torch.equal(weight, distance.state_dict()[name]), name

"""The VQGAN's training, run for a few steps."""

import os
import signal
import warnings

import pytest
import torch

from cortex.core.errors import StoppedError
from cortex.recipes import loop
from cortex.recipes.pictures import pictures_at
from cortex.recipes.vqgan import _Step, reconstruction_error, train_vqgan, vqgan_arguments
from tests.unit.recipes.conftest import TINY

CPU = torch.device("cpu")


def train(images, state, recipe=TINY, perceptual=None):
    return train_vqgan(
        images, images[:16], perceptual=perceptual, recipe=recipe, device=CPU, state=state,
        identity=recipe.model_dump(mode="json"),
    )  # fmt: skip


@pytest.mark.slow
def test_it_learns_and_repeats(stripes, tmp_path):
    images, _ = stripes
    model, history = train(images, tmp_path / "state")
    assert [row["epoch"] for row in history] == [1, 2, 3]
    assert history[2]["held_out_l1"] < history[0]["held_out_l1"]
    error, used = reconstruction_error(model, images[:16])
    assert history[2]["held_out_l1"] == pytest.approx(error)
    assert 1 < used <= 16
    again, _ = train(images, tmp_path / "other")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name


@pytest.mark.slow
def test_an_interrupted_training_ends_at_the_same_weights(stripes, tmp_path, monkeypatch):
    images, _ = stripes
    whole, history = train(images, tmp_path / "whole")
    calls = iter(range(100))
    measured = loop.Loop.steps

    def interrupted(self):
        for rows in measured(self):
            if next(calls) == 10:  # a step of the second epoch, after the discriminator began
                os.kill(os.getpid(), signal.SIGTERM)
            yield rows

    with monkeypatch.context() as patch:
        patch.setattr(loop.Loop, "steps", interrupted)
        with pytest.raises(StoppedError, match=r"vqgan, in epoch 2, after 5 of its 6 steps; .*/state"):
            train(images, tmp_path / "state")
    resumed, same = train(images, tmp_path / "state")
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name
    assert [row["train_loss"] for row in same] == [row["train_loss"] for row in history]


def test_outputs_are_quantized_from_a_share_of_the_steps(stripes, tmp_path):
    """The first epoch of three is not: it has no codes to measure with."""
    images, _ = stripes
    recipe = TINY.model_copy(update={"quantize_from": 0.4})
    _, history = train(images, tmp_path / "state", recipe)
    assert [row["codes_used"] is None for row in history] == [True, False, False]
    assert history[0]["held_out_l1"] is None
    assert history[2]["codes_used"] > 1


def test_the_brightness_of_a_picture_reaches_the_decoder_past_its_norms():
    """With one group of channels; with a group a channel, any norm takes away what is the same at all positions."""
    torch.manual_seed(0)
    from taming.modules.diffusionmodules.model import ResnetBlock

    from cortex.generators.network.vqgan import VQGAN

    arguments = vqgan_arguments(TINY)
    features = torch.randn(1, TINY.vqgan_width, 8, 8)
    shift = torch.zeros_like(features)
    shift[:, 0] = 1.0
    for groups, told in ((1, True), (TINY.vqgan_width, False)):
        norm = VQGAN(**arguments | {"norm_groups": groups}).decoder.norm_out
        assert norm.num_groups == groups
        assert torch.allclose(norm(features), norm(features + shift), atol=1e-5) != told
    assert ResnetBlock(in_channels=32, out_channels=32, dropout=0.0, temb_channels=0).norm1.num_groups == 32


@pytest.mark.slow
def test_a_finished_training_is_not_done_again(stripes, tmp_path):
    images, _ = stripes
    model, history = train(images, tmp_path / "state")
    again, same = train(images, tmp_path / "state")
    assert same == history
    assert torch.equal(model.codebook, again.codebook)


def test_a_state_of_another_recipe_is_left_alone(stripes, tmp_path, caplog):
    images, _ = stripes
    caplog.set_level("INFO")
    train(images, tmp_path / "state", TINY.model_copy(update={"vqgan_epochs": 1}))
    train(images, tmp_path / "state", TINY.model_copy(update={"vqgan_epochs": 1, "vqgan_learning_rate": 2e-3}))
    assert "differs in vqgan_learning_rate; this one starts anew" in caplog.text


@pytest.mark.slow
def test_half_precision_learns_too(stripes, tmp_path):
    images, _ = stripes
    recipe = TINY.model_copy(update={"precision": "bfloat16", "rate_weight": 0.01})
    model, history = train(images, tmp_path / "state", recipe)
    assert history[2]["held_out_l1"] < history[0]["held_out_l1"]
    assert model.codebook.dtype == torch.float32


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"
)  # of torch.compile itself
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_networks_have_the_gradients_of_plain_ones(stripes, precision):
    """A whole decoder, compiled in bfloat16, once had gradients of 0."""
    images, _ = stripes
    gradients = []
    for compiled in (False, True):
        torch.manual_seed(0)
        step = _Step(TINY.model_copy(update={"precision": precision, "compiled": compiled}), CPU)
        step.prepare(100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.compile warns of its own code
            step.take(pictures_at(images, torch.arange(8)), 1, 100)
        gradients.append({name: weight.grad for name, weight in step.model.named_parameters() if weight.requires_grad})
    for part in ("encoder.", "decoder."):
        ours, theirs = (torch.cat([g.flatten() for n, g in of.items() if n.startswith(part)]) for of in gradients)
        assert torch.cosine_similarity(ours, theirs, dim=0) > (0.999 if precision == "float32" else 0.9), part
        assert ours.norm() / theirs.norm() == pytest.approx(1, abs=0.2), part

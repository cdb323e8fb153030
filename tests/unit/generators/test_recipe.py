"""The bundled generator's recipe, run for a few steps; and the weights that it made."""

import pytest
import torch

from cortex.data.digits import HELD_OUT_PER_CLASS, TRAIN_PER_CLASS, jitter, real_digits
from cortex.generators.load import generator_spec, load_generator
from cortex.generators.taming import recipe
from cortex.generators.taming.architecture import bundled_weights
from cortex.generators.taming.generator import save_generator
from cortex.generators.taming.recipe import (
    ARCHITECTURE,
    code_length,
    reconstruction_error,
    train_transformer,
    train_vqgan,
)


@pytest.fixture(scope="module")
def digits():
    images, labels = real_digits("train")
    return images[::20], labels[::20]  # 20 of every class


def test_digits_are_split_by_class_and_never_shared(digits):
    train, held_out = real_digits("train"), real_digits("held_out")
    assert train[1].bincount().tolist() == [TRAIN_PER_CLASS] * 10
    assert held_out[1].bincount().tolist() == [HELD_OUT_PER_CLASS] * 10
    assert train[0].shape[1:] == (3, 32, 32)
    assert (train[0].amin().item(), train[0].amax().item()) == (-1, 1)
    rows = {image.numpy().tobytes() for image in train[0]}
    assert not rows & {image.numpy().tobytes() for image in held_out[0]}


def test_jitter_moves_digits_over_black():
    images = real_digits("held_out")[0][:20]
    moved = jitter(images, torch.Generator().manual_seed(0))
    assert not torch.equal(moved, images)
    torch.testing.assert_close(moved[:, :, 0, 0], torch.full((20, 3), -1.0))
    assert torch.equal(moved, jitter(images, torch.Generator().manual_seed(0)))
    # A digit keeps about as much ink as its change of size explains.
    ink = (moved + 1).sum((1, 2, 3)) / (images + 1).sum((1, 2, 3))
    assert ((ink > 0.75) & (ink < 1.35)).all()


def test_code_length_by_hand():
    """Two codes, far apart: the choice is hard, and costs −log of how often the code is chosen."""
    codebook, usage = torch.tensor([[0.0], [10.0]]), torch.tensor([0.8, 0.2])
    vectors = torch.tensor([0.1, 0.1, 0.1, 9.9]).view(1, 1, 2, 2)
    expected = (3 * -torch.tensor(0.8).log() - torch.tensor(0.2).log()) / 4
    assert code_length(vectors, codebook, usage).item() == pytest.approx(expected.item(), abs=1e-3)


def test_the_recipe_learns_and_repeats(digits, tmp_path, monkeypatch):
    images, labels = digits
    held_out = (images[:40], labels[:40])

    def train():
        vqgan, rows = train_vqgan(images, held_out[0], epochs=3, batch=32, learning_rate=1e-3, rate_weight=0.01, seed=0)
        transformer, more = train_transformer(
            vqgan, images, labels, held_out, epochs=2, batch=32, learning_rate=1e-3, dropout=0.1, seed=0
        )
        return vqgan, transformer, rows + more

    vqgan, transformer, history = train()
    assert [row["stage"] for row in history] == ["vqgan"] * 3 + ["transformer"] * 2
    assert history[2]["held_out_loss"] < history[0]["held_out_loss"]
    assert history[4]["held_out_loss"] < history[3]["held_out_loss"]
    assert history[2]["held_out_loss"] == pytest.approx(reconstruction_error(vqgan, held_out[0])[0])

    path = tmp_path / "digits.safetensors"
    save_generator(path, vqgan, transformer, ARCHITECTURE)
    generator = load_generator(path)
    assert torch.equal(generator.vqgan.encode(held_out[0]), vqgan.encode(held_out[0]))

    again, transformer_again, _ = train()
    for ours, theirs in ((vqgan, again), (transformer, transformer_again)):
        for name, weight in ours.state_dict().items():
            assert torch.equal(weight, theirs.state_dict()[name]), name


def test_unused_codes_are_restarted_far_from_the_used_ones():
    model = recipe.VQGAN(**ARCHITECTURE["vqgan"])
    optimizer = torch.optim.Adam(model.parameters())
    unused = torch.zeros(256, dtype=torch.bool)
    unused[:3] = True
    kept = model.codebook.detach().clone()
    vectors = model.codebook.detach()[3].repeat(64, 1)  # everything sits on a used code
    vectors[5], vectors[9], vectors[60] = 7.0, 8.0, 9.0  # but these
    recipe._restart(model, optimizer, vectors.T.reshape(1, 32, 8, 8), unused, torch.Generator().manual_seed(0))
    assert sorted(model.codebook[:3, 0].tolist()) == [7.0, 8.0, 9.0]
    assert torch.equal(model.codebook[3:], kept[3:])


def test_the_shipped_weights_are_whole_and_small():
    assert bundled_weights().stat().st_size <= 8_000_000
    facts = generator_spec()
    assert (facts.grid, facts.codes, facts.channels, len(facts.class_names)) == ((8, 8), 256, 32, 10)
    generator = load_generator()
    images, _ = real_digits("held_out")
    error, codes_used = reconstruction_error(generator.vqgan, images[::10])
    assert error < 0.05, "mean absolute error of reconstructed held-out digits, in units of -1..1"
    assert codes_used > 128

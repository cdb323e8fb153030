"""The GPT's training, run for a few steps."""

import numpy as np
import pytest
import torch
from taming.modules.transformer.mingpt import GPT

from cortex.recipes.gpt import Grids, encode_all, gpt_arguments, next_token_loss, train_gpt
from cortex.recipes.vqgan import VQGAN, vqgan_arguments
from tests.unit.recipes.conftest import TINY


@pytest.fixture(scope="module")
def vqgan():
    torch.manual_seed(0)
    model = VQGAN(**vqgan_arguments(TINY)).eval()
    model.codebook.data.copy_(torch.randn(16, 8, generator=torch.Generator().manual_seed(0)))
    return model


def train(vqgan, stripes, state):
    images, labels = stripes
    return train_gpt(
        vqgan, images, labels, (images[:16], labels[:16]), classes=2, recipe=TINY, device=torch.device("cpu"),
        state=state, identity={},
    )  # fmt: skip


def test_it_learns_and_repeats(vqgan, stripes, tmp_path):
    gpt, history = train(vqgan, stripes, tmp_path / "state")
    assert [row["stage"] for row in history] == ["gpt"] * 3
    assert history[2]["held_out_loss"] < history[0]["held_out_loss"] < np.log(16) * 1.2
    again, _ = train(vqgan, stripes, tmp_path / "other")
    for name, weight in gpt.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name]), name
    # The weights kept are those of the lowest held-out loss.
    images, labels = stripes
    grids = encode_all(vqgan, images[:16]).long()
    with torch.no_grad():
        loss = next_token_loss(gpt, labels[:16], grids).item()
    assert loss == pytest.approx(min(row["held_out_loss"] for row in history), rel=1e-5)


def test_the_loss_is_that_of_taming(vqgan):
    torch.manual_seed(0)
    gpt = GPT(**gpt_arguments(TINY, 16, 64)).eval()
    first, grids = torch.tensor([1, 2]), torch.randint(16, (2, 8, 8))
    tokens = torch.cat([first[:, None], grids.flatten(1)], 1)
    _, expected = gpt(tokens[:, :-1], targets=tokens[:, 1:].contiguous())
    assert next_token_loss(gpt, first, grids).item() == pytest.approx(expected.item(), rel=1e-6)


def test_the_null_class_is_learnt(vqgan, stripes, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "cortex.recipes.gpt.next_token_loss",
        lambda model, first, grids: (seen.append(first), next_token_loss(model, first, grids))[1],
    )
    train(vqgan, stripes, tmp_path / "state")
    first = torch.cat(seen[:18])
    assert set(first.tolist()) == {0, 1, 2}
    assert 0.02 < (first == 2).float().mean() < 0.25


def test_every_epoch_has_another_variant_of_a_picture_and_eight_are_encoded_once(vqgan, stripes, monkeypatch):
    images, _ = stripes
    grids = Grids(vqgan, images, "flips_and_turns")
    calls = []
    monkeypatch.setattr(vqgan, "encode", lambda part, encode=vqgan.encode: (calls.append(len(part)), encode(part))[1])
    for epoch in range(1, 12):
        grids.of(epoch)
    assert len(calls) == 8  # each of all pictures in one batch
    # Picture i at number n has variant (i + n) % 8: 3 is flipped after one quarter turn.
    by_hand = np.flip(np.rot90(images[1], 1, (0, 1)), 1).copy()
    assert torch.equal(grids.of(2)[1], encode_all(vqgan, by_hand[None])[0])

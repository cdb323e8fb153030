"""The loop of a training: what an epoch's row holds."""

import time

import pytest
import torch

from cortex.recipes.loop import Loop
from cortex.recipes.settings import GeneratorRecipe


def test_the_seconds_of_an_epoch_hold_all_of_its_steps(tmp_path):
    random = torch.Generator().manual_seed(0)
    loop = Loop("a", 4, 2, 2, random, {}, tmp_path / "a.state", {}, save_every=600)
    rows = []
    for pictures, last in loop.steps():
        rows.append(pictures)
        time.sleep(0.05)
        loop.total += 1.5
        if last:
            loop.end_epoch(held_out_top1=0.5)
    assert torch.stack(rows).view(2, 4).sort().values.tolist() == [[0, 1, 2, 3]] * 2
    for number, row in enumerate(loop.history, 1):
        assert row.pop("seconds") >= 0.1
        assert row == {"stage": "a", "epoch": number, "train_loss": 1.5, "held_out_top1": 0.5}
    assert len(loop.history) == 2


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"size": 30}, "size = 30: should be a multiple of 8: vqgan_multipliers halve it 3 times"),
        ({"size": 62, "vqgan_multipliers": [1, 1, 1]}, "size = 62: should be a multiple of 4: .* halve it 2 times"),
        ({"gpt_width": 10, "gpt_heads": 3}, "gpt_width = 10: should be a multiple of gpt_heads = 3"),
        ({"vqgan_width": 10}, "vqgan_width = 10: should be a multiple of norm_groups = 4"),
    ],
)
def test_sizes_that_no_network_can_have_are_refused(wrong, told):
    with pytest.raises(ValueError, match=told):
        GeneratorRecipe(**wrong)

import pytest
import torch

from cortex.recipes.codes import CodeUse, restart_codes
from cortex.recipes.vqgan import VQGAN, vqgan_arguments
from tests.unit.recipes.conftest import TINY


def test_unused_codes_are_restarted_far_from_the_used_ones():
    model = VQGAN(**vqgan_arguments(TINY))
    optimizer = torch.optim.Adam(model.parameters())
    unused = torch.zeros(16, dtype=torch.bool)
    unused[:3] = True
    kept = model.codebook.detach().clone()
    vectors = model.codebook.detach()[3].repeat(64, 1)  # everything sits on a used code
    vectors[5], vectors[9], vectors[60] = 7.0, 8.0, 9.0  # but these
    restart_codes(model, optimizer, vectors.T.reshape(1, 8, 8, 8), unused, torch.Generator().manual_seed(0))
    assert sorted(model.codebook[:3, 0].tolist()) == [7.0, 8.0, 9.0]
    assert torch.equal(model.codebook[3:], kept[3:])


def test_more_unused_codes_than_vectors_are_restarted_in_part():
    model = VQGAN(**vqgan_arguments(TINY))
    optimizer = torch.optim.Adam(model.parameters())
    kept = model.codebook.detach().clone()
    vectors = torch.arange(4.0).repeat(8, 1).view(1, 8, 2, 2) + 5
    restart_codes(model, optimizer, vectors, torch.ones(16, dtype=torch.bool), torch.Generator().manual_seed(0))
    assert sorted(model.codebook[:4, 0].tolist()) == [5.0, 6.0, 7.0, 8.0]
    assert torch.equal(model.codebook[4:], kept[4:])


def test_the_use_of_codes_is_a_running_average_that_sums_to_one():
    use = CodeUse(4)
    use.note(torch.tensor([[0, 0], [0, 1]]))
    assert use.share.tolist() == pytest.approx([0.25 * 0.98 + 0.75 * 0.02, 0.25, 0.25 * 0.98, 0.25 * 0.98])
    assert use.unused.tolist() == [False, False, True, True]
    other = CodeUse(4)
    other.load_state_dict(use.state_dict())
    assert torch.equal(other.share, use.share)

import pytest
import torch

from cortex.recipes.codes import KEPT, Codebook
from cortex.recipes.vqgan import VQGAN, vqgan_arguments
from tests.unit.recipes.conftest import TINY


@pytest.fixture
def codebook():
    torch.manual_seed(0)
    return Codebook(VQGAN(**vqgan_arguments(TINY)), torch.Generator().manual_seed(0))


def grid(rows):
    """Vectors ``[1, 8, 1, N]`` of which each has one number in all channels."""
    return torch.tensor(rows).view(1, 1, 1, -1).expand(1, 8, 1, len(rows))


def test_a_code_is_the_mean_of_the_vectors_that_chose_it(codebook):
    codebook.restart(grid([float(number) for number in range(16)]), everything=True)
    ordered = codebook.codes[:, 0].argsort()
    codebook.counts.zero_(), codebook.sums.zero_()
    vectors = grid([0.2, 0.4, 7.3])
    for _ in range(2):
        _, _, chosen = codebook.quantize(vectors)
        codebook.update(vectors, chosen)
    assert chosen.flatten().tolist() == [ordered[0], ordered[0], ordered[7]]
    assert codebook.codes[ordered[[0, 7]], 0].tolist() == pytest.approx([0.3, 7.3])
    assert codebook.codes[ordered[5], 0].item() == 5  # chosen by none: it stays
    weight = (1 - KEPT) * (1 + KEPT)  # of two steps
    assert codebook.counts[ordered[[0, 7]]].tolist() == pytest.approx([2 * weight, weight])
    assert codebook.share[ordered[[0, 7]]].tolist() == pytest.approx([2 / 3, 1 / 3])


def test_gradients_pass_straight_through_and_the_commitment_pulls_the_encoder(codebook):
    vectors = torch.randn(2, 8, 3, 3, requires_grad=True)
    quantized, commitment, chosen = codebook.quantize(vectors)
    assert torch.allclose(quantized, codebook.codes[chosen].permute(0, 3, 1, 2), atol=1e-6)
    (gradient,) = torch.autograd.grad(3 * quantized.sum(), vectors, retain_graph=True)
    assert torch.equal(gradient, torch.full_like(gradient, 3))
    (pull,) = torch.autograd.grad(commitment, vectors)
    torch.testing.assert_close(pull, 2 * (vectors - quantized).detach() / vectors.numel())


def test_rare_codes_are_restarted_far_from_the_others(codebook):
    codebook.counts.fill_(10.0)
    codebook.counts[:3] = 0.01
    kept = codebook.codes.detach().clone()
    rows = kept[3].repeat(64, 1)  # everything sits on a code
    rows[5], rows[9], rows[60] = 7.0, 8.0, 9.0  # but these
    assert codebook.restart(rows.T.reshape(1, 8, 8, 8)) == 3
    assert sorted(codebook.codes[:3, 0].tolist()) == [7.0, 8.0, 9.0]
    assert torch.equal(codebook.codes[3:], kept[3:])
    torch.testing.assert_close(codebook.sums[:3] / codebook.counts[:3, None], codebook.codes[:3])
    assert codebook.restart(rows.T.reshape(1, 8, 8, 8)) == 0


def test_more_codes_than_vectors_are_restarted_in_part(codebook):
    kept = codebook.codes.detach().clone()
    assert codebook.restart(grid([5.0, 6.0, 7.0, 8.0]), everything=True) == 4
    assert sorted(codebook.codes[:4, 0].tolist()) == [5.0, 6.0, 7.0, 8.0]
    assert torch.equal(codebook.codes[4:], kept[4:])


def test_a_state_goes_on(codebook):
    vectors = torch.randn(2, 8, 3, 3)
    codebook.update(vectors, codebook.quantize(vectors)[2])
    other = Codebook(VQGAN(**vqgan_arguments(TINY)), torch.Generator())
    other.load_state_dict(codebook.state_dict())
    assert torch.equal(other.sums, codebook.sums)
    assert torch.equal(other.share, codebook.share)

import pytest
import torch

from cortex.recipes.losses import balanced_gradient, code_length


def test_code_length_by_hand():
    """Two codes, far apart: the choice is hard, and costs −log of how often the code is chosen."""
    codebook, usage = torch.tensor([[0.0], [10.0]]), torch.tensor([0.8, 0.2])
    vectors = torch.tensor([0.1, 0.1, 0.1, 9.9]).view(1, 1, 2, 2)
    expected = (3 * -torch.tensor(0.8).log() - torch.tensor(0.2).log()) / 4
    assert code_length(vectors, codebook, usage).item() == pytest.approx(expected.item(), abs=1e-3)


def test_the_adversarial_gradient_has_the_length_asked_for():
    picture = torch.tensor([3.0, 4.0], requires_grad=True)
    # Gradients of the two terms: (3, 4), of length 5; and (0, 100).
    gradient = balanced_gradient(picture, picture.square().sum() / 2, 100 * picture[1], 0.5)
    assert gradient.tolist() == pytest.approx([3.0, 4.0 + 2.5])


def test_a_discriminator_without_gradient_changes_nothing():
    picture = torch.tensor([3.0, 4.0], requires_grad=True)
    gradient = balanced_gradient(picture, picture.sum(), 0 * picture.sum(), 0.5)
    assert gradient.tolist() == [1.0, 1.0]

import pytest
import torch
from torch.nn import functional as F

from cortex.recipes.losses import STAGES, PerceptualDistance, balanced_gradient, code_length


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


def test_perceptual_distance_is_that_of_features_in_units_of_their_variance():
    """Against the network's own ``extract_features``-like pass, hooked block by block, position by position."""
    distance = PerceptualDistance()
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
        for channel in range(first.shape[1]):  # in units of the variance of the second pictures
            error = F.mse_loss(first[:, channel], second[:, channel])
            expected += (error / second[:, channel].var()).item() / first.shape[1] / len(STAGES)
    found = distance(ours, theirs)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    found.backward()
    assert ours.grad is not None
    assert ours.grad.abs().sum() > 0
    assert distance(theirs, theirs).item() == pytest.approx(0, abs=1e-5)

"""Token importance (METHOD.md, section 4) against a loop over single images, against Captum, and by hand."""

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from pydantic import ValidationError

from cortex.explain.importance import token_importance
from cortex.explain.ranks import ranks
from cortex.explain.settings import Importance
from tests.unit.explain.by_hand import SETTINGS, extractor, importance_of_one_image


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("reduction", ["max", "mean"])
def test_one_backward_pass_gives_what_a_loop_over_images_gives(name, reduction):
    network = extractor(name)
    embeddings, labels = torch.randn(4, 5, 8, 8) * torch.tensor([1, 2, 3, 0.5])[:, None, None, None], [0, 2, 1, 2]
    seeds = [11, 12, 13, 14]
    batched = token_importance(
        network, embeddings, torch.tensor(labels), seeds, samples=3, noise=0.2, reduction=reduction
    )
    alone = torch.stack(
        [
            importance_of_one_image(network, embedding, label, seed, 3, 0.2, reduction)
            for embedding, label, seed in zip(embeddings, labels, seeds, strict=True)
        ]
    )
    torch.testing.assert_close(batched, alone, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_without_noise_it_is_captums_saliency(name):
    network = extractor(name)
    embeddings, labels = torch.randn(4, 5, 8, 8), torch.tensor([0, 1, 2, 0])
    saliency = Saliency(network).attribute(embeddings.clone().requires_grad_(), target=labels, abs=False)
    ours = token_importance(network, embeddings, labels, [1, 2, 3, 4], samples=1, noise=0.0)
    torch.testing.assert_close(ours, saliency.amax(dim=1), rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_smoothgrad_is_captums_noise_tunnel(name):
    """Captum draws its own noise: both means agree within their standard errors, and only then."""
    network = extractor(name)
    embedding, label = torch.randn(1, 5, 8, 8), torch.tensor([2])
    samples = 2000
    sigma = 0.2 * (embedding.max() - embedding.min()).item()
    torch.manual_seed(0)
    tunnel = NoiseTunnel(Saliency(network))
    arguments = {"nt_samples": samples, "nt_samples_batch_size": 500, "stdevs": sigma, "target": label, "abs": False}
    theirs = tunnel.attribute(embedding.clone().requires_grad_(), nt_type="smoothgrad", **arguments)
    spread = tunnel.attribute(embedding.clone().requires_grad_(), nt_type="vargrad", **arguments).sqrt()
    ours = token_importance(network, embedding, label, [7], samples=samples, noise=0.2, reduction="mean")
    # Mean over channels is linear, so its standard error is bounded by the mean of the channels' errors.
    error = (spread * (2 / samples) ** 0.5).mean(dim=1)
    assert ((ours - theirs.mean(dim=1)).abs() < 5 * error).all()
    plain = token_importance(network, embedding, label, [7], samples=1, noise=0.0, reduction="mean")
    assert not ((plain - theirs.mean(dim=1)).abs() < 5 * error).all(), "the check could not fail"


def test_by_hand():
    """A linear extractor's gradient is its weight, whatever the noise: the score is the largest over channels."""

    class Linear(torch.nn.Module):
        def forward(self, embeddings):
            weight = torch.tensor([[[1.0, -2.0]], [[-3.0, -4.0]]])  # [d=2, h=1, w=2]
            logit = (embeddings * weight).sum((1, 2, 3))
            return torch.stack([logit, -logit], dim=1)

    embeddings = torch.randn(2, 2, 1, 2)
    scores = token_importance(Linear(), embeddings, torch.tensor([0, 1]), [1, 2])
    torch.testing.assert_close(scores, torch.tensor([[[1.0, -2.0]], [[3.0, 4.0]]]))
    means = token_importance(Linear(), embeddings, torch.tensor([0, 1]), [1, 2], reduction="mean")
    torch.testing.assert_close(means, torch.tensor([[[-1.0, -3.0]], [[1.0, 3.0]]]))


def test_a_score_does_not_depend_on_its_neighbours():
    network = extractor("cnn")
    embeddings, labels = torch.randn(3, 5, 8, 8), torch.tensor([0, 1, 2])
    embeddings[1] *= 100  # the released code would take max and min over the whole batch
    together = token_importance(network, embeddings, labels, [1, 2, 3])
    alone = token_importance(network, embeddings[:1], labels[:1], [1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-7)


def test_ranks_are_those_of_a_sort():
    scores = np.array([[0.1, 0.5, 0.5, -1.0]])
    assert ranks(scores).tolist() == [[2, 0, 1, 3]]


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("samples", 0, "greater than or equal to 1"),
        ("batch", 0, "greater than or equal to 1"),
        ("noise", -1.0, "greater than or equal to 0"),
        ("noise", np.nan, "finite"),
    ],
)
def test_options_that_cannot_be_are_told(option, value, allowed):
    with pytest.raises(ValidationError, match=rf"{option}\n.*{allowed}"):
        Importance(**{option: value})

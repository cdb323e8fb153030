"""Attributions (METHOD.md, section 4): against loops over single images, their axioms, and by hand."""

import numpy as np
import pytest
import torch

from cortex.core.randomness import key_seeds
from cortex.explain import ATTRIBUTIONS
from cortex.explain.context import AttributionContext
from cortex.explain.importance import token_importance
from tests.unit.explain.by_hand import SETTINGS, extractor, scores_of_one_image

LABELS = [0, 2, 1, 2]


def images():
    torch.manual_seed(2)
    embeddings = torch.randn(4, 5, 8, 8) * torch.tensor([1, 2, 3, 0.5])[:, None, None, None]
    return embeddings.double(), torch.randn(5).double()


def attribution(method, network, embeddings, labels, nothing, **changes):
    keys = [f"k{place}" for place in range(len(embeddings))]
    settings = {"seed": 0, "samples": 20, "noise": 0.2, "reduction": "max", "steps": 50}
    codes = {"codebook": nothing[None], "grids": torch.zeros(len(embeddings), 8, 8, dtype=torch.int64)}
    context = AttributionContext(nothing=nothing, keys=keys, **codes, **(settings | changes))
    return ATTRIBUTIONS.load(method)(network, embeddings, labels, context)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("method", ["gradient", "gradient_input", "integrated_gradients", "occlusion"])
def test_a_batch_gets_what_a_loop_over_images_gets(method, name):
    network, (embeddings, nothing) = extractor(name).double(), images()
    batched = attribution(method, network, embeddings, torch.tensor(LABELS), nothing, samples=7, steps=20)
    assert not batched.requires_grad
    for scores, embedding, label in zip(batched, embeddings, LABELS, strict=True):
        alone = scores_of_one_image(method, network, embedding, label, nothing)
        assert (scores - alone).abs().max() <= 1e-6 * alone.abs().max()


@pytest.mark.parametrize("name", SETTINGS)
def test_integrated_gradients_are_complete(name):
    """Scores add up to what the logit rises by, from nothing anywhere to the image."""
    network, (embeddings, nothing) = extractor(name).double(), images()
    labels = torch.tensor(LABELS)
    empty = nothing[None, :, None, None].expand_as(embeddings)
    rise = (network(embeddings) - network(empty)).gather(1, labels[:, None])[:, 0]
    # The gradients of ReLUs jump: a quadrature of their integral converges slowly.
    scores = attribution("integrated_gradients", network, embeddings, labels, nothing, steps=500)
    assert ((scores.sum((1, 2)) - rise).abs() < 0.01 * scores.abs().sum((1, 2))).all()
    few = attribution("integrated_gradients", network, embeddings, labels, nothing, steps=2)
    assert not ((few.sum((1, 2)) - rise).abs() < 0.01 * few.abs().sum((1, 2))).all(), "the check could not fail"


class Linear(torch.nn.Module):
    """A logit that a person can explain: a weight for every channel and position."""

    weight = torch.tensor([[[1.0, -2.0]], [[-3.0, -4.0]]])  # [d=2, h=1, w=2]

    def forward(self, embeddings):
        logit = (embeddings * self.weight).sum((1, 2, 3))
        return torch.stack([logit, -logit], dim=1)


def test_by_hand():
    embeddings = torch.tensor([[[[2.0, 1.0]], [[1.0, 0.5]]]] * 2)
    labels, nothing = torch.tensor([0, 1]), torch.tensor([1.0, -1.0])

    def scores(method, **settings):
        return attribution(method, Linear(), embeddings, labels, nothing, **settings).tolist()

    assert scores("gradient") == [[[1, -2]], [[3, 4]]]
    assert scores("gradient", reduction="mean") == [[[-1, -3]], [[1, 3]]]
    assert scores("gradient_input") == [[[2 - 3, -2 - 2]], [[1, 4]]]
    # (2−1)·1 + (1+1)·(−3) and (1−1)·(−2) + (0.5+1)·(−4); what is linear falls by as much when it is taken away.
    assert np.allclose(scores("integrated_gradients"), [[[-5, -6]], [[5, 6]]])
    assert np.allclose(scores("occlusion"), [[[-5, -6]], [[5, 6]]])
    assert np.allclose(scores("smoothgrad_mean"), [[[-1, -3]], [[1, 3]]])


@pytest.mark.parametrize("name", SETTINGS)
def test_tis_is_the_token_importance_score_with_the_noise_of_its_images(name):
    network, (embeddings, nothing) = extractor(name), images()
    labels, keys = torch.tensor(LABELS), [f"k{place}" for place in range(4)]
    for stream, changes in (("importance", {}), ("other", {"stream": "other"})):
        seeds = key_seeds(0, stream, keys).tolist()
        for reduction in ("max", "mean"):
            of = {"samples": 3, "noise": 0.1, "reduction": reduction}
            found = attribution("tis", network, embeddings.float(), labels, nothing.float(), **of, **changes)
            assert torch.equal(found, token_importance(network, embeddings.float(), labels, seeds, **of))

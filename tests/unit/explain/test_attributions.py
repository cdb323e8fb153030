"""Attributions (METHOD.md, section 9): against loops over single images, their axioms, and by hand."""

import sys
import types

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.explain import ATTRIBUTIONS
from cortex.explain.attributions import AttributionContext, attribute_images
from cortex.explain.importance import explain_shard
from cortex.explain.settings import Importance
from cortex.extractors.network import build_extractor, save_extractor
from tests.tables import write_samples

SETTINGS = {
    "cnn": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "hidden": 16},
    "resnet": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 16, "hidden": 16},
    "transformer": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "layers": 2, "heads": 2, "mlp": 16},
}
METHODS = ["gradient", "gradient_input", "integrated_gradients", "smoothgrad_mean", "occlusion", "random"]
LABELS = [0, 2, 1, 2]


def extractor(name):
    torch.manual_seed(1)
    network = build_extractor(name, **SETTINGS[name])
    with torch.no_grad():  # batch norms that have seen data
        network.train()
        for _ in range(40):
            network(torch.randn(16, 5, 8, 8))
    return network.eval().requires_grad_(False)


def images():
    torch.manual_seed(2)
    embeddings = torch.randn(4, 5, 8, 8) * torch.tensor([1, 2, 3, 0.5])[:, None, None, None]
    return embeddings.double(), torch.randn(5).double()


def logit_and_gradient(network, embedding, label):
    embedding = embedding.clone().requires_grad_()
    logit = network(embedding[None])[0, label]
    (gradient,) = torch.autograd.grad(logit, embedding)
    return logit.item(), gradient


def scores_of_one_image(method, network, embedding, label, nothing):
    """The definitions, one image, one step and one position at a time: scores [h, w]."""
    logit, gradient = logit_and_gradient(network, embedding, label)
    if method == "gradient":
        return gradient.max(0).values
    if method == "gradient_input":
        return sum(gradient[channel] * embedding[channel] for channel in range(len(embedding)))
    empty = nothing[:, None, None].expand_as(embedding)
    if method == "integrated_gradients":
        total = torch.zeros_like(embedding)
        for node, weight in zip(*np.polynomial.legendre.leggauss(20), strict=True):  # of an integral from -1 to 1
            between = empty + (node + 1) / 2 * (embedding - empty)
            total += logit_and_gradient(network, between, label)[1] * weight / 2
        return (total * (embedding - empty)).sum(0)
    assert method == "occlusion"
    scores = torch.zeros_like(embedding[0])
    for row in range(scores.shape[0]):
        for column in range(scores.shape[1]):
            occluded = embedding.clone()
            occluded[:, row, column] = nothing
            scores[row, column] = logit - network(occluded[None])[0, label]
    return scores


def attribution(method, network, embeddings, labels, nothing, **changes):
    keys = [f"k{place}" for place in range(len(embeddings))]
    settings = {"seed": 0, "samples": 20, "noise": 0.2, "reduction": "max", "steps": 50}
    context = AttributionContext(nothing=nothing, keys=keys, **(settings | changes))
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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two importance files, with the extractor that they are of."""
    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    samples = [
        Sample(f"test-{label:04d}-{index:06d}", label, rng.integers(0, 6, (8, 8)).astype(np.uint16))
        for index in range(4)
        for label in (2, 0, 1)
    ]
    codebook = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    write_weights(folder / "codebook.safetensors", {"codebook": codebook}, {})
    network = extractor("cnn")
    save_extractor(folder / "model.safetensors", "cnn", SETTINGS["cnn"], network.state_dict())
    for shard in (0, 1):
        tokens = write_samples(folder / f"tokens-{shard}.parquet", samples[6 * shard : 6 * shard + 6])
        explained(folder, tokens, folder / f"{shard:06d}.parquet")
    return folder, samples, codebook, network


def explained(folder, tokens, output, **changes):
    settings = Importance(**({"samples": 3} | changes))
    files = (folder / "model.safetensors", folder / "codebook.safetensors")
    explain_shard(output, tokens, *files, settings=settings, seed=3, device="cpu")
    return output


def attributed(folder, output, *, batch=4, **changes):
    scores = [folder / "000000.parquet", folder / "000001.parquet"]
    options = {"methods": METHODS, "images_per_class": 3, "steps": 4} | changes
    attribute_images(
        output,
        options.pop("scores", scores),
        folder / "model.safetensors",
        folder / "codebook.safetensors",
        importance=Importance(samples=3, batch=batch),
        seed=3,
        device="cpu",
        **options,
    )
    return output


def test_the_first_images_of_every_class_are_scored(run, tmp_path):
    folder, samples, codebook, network = run
    table = read_table(attributed(folder, tmp_path / "scores.parquet"))
    chosen = samples[:9]
    assert table["method"].to_pylist() == list(np.repeat(["importance", *METHODS], 9))
    assert table["key"].to_pylist() == [sample.key for sample in chosen] * 7
    assert table["label"].to_pylist() == [sample.label for sample in chosen] * 7
    scores = np.array(table["scores"].to_pylist()).reshape(7, 9, 64)
    files = [read_table(folder / f"{shard:06d}.parquet")["importance"].to_pylist() for shard in (0, 1)]
    assert np.array_equal(scores[0], np.concatenate(files)[:9])
    seeds = key_seeds(3, "random positions", [sample.key for sample in chosen])
    np.testing.assert_allclose(scores[-1], uniforms(seeds, 64), rtol=1e-6)  # the image level's order
    for place, method in enumerate(METHODS, start=1):
        if method in ("gradient", "gradient_input", "occlusion"):
            for sample, found in zip(chosen, scores[place], strict=True):
                embedding = codebook[sample.grid.astype(np.int64)].permute(2, 0, 1)
                expected = scores_of_one_image(method, network, embedding, sample.label, codebook.mean(0))
                np.testing.assert_allclose(found, expected.flatten(), rtol=1e-3, atol=1e-5)


def test_smoothgrad_has_the_importances_noise(run, tmp_path):
    """The mean over channels of the gradients whose maximum the importance is."""
    folder, *_ = run
    output = attributed(folder, tmp_path / "scores.parquet", methods=["smoothgrad_mean"])
    mean = explained(folder, folder / "tokens-0.parquet", tmp_path / "mean.parquet", reduction="mean")
    expected = np.array(read_table(mean)["importance"].to_pylist())
    np.testing.assert_allclose(read_table(output)["scores"].to_pylist()[9:15], expected, rtol=1e-3, atol=1e-6)


def test_scores_do_not_depend_on_the_batch(run, tmp_path):
    folder, *_ = run
    first = read_table(attributed(folder, tmp_path / "one.parquet", batch=1))
    second = read_table(attributed(folder, tmp_path / "all.parquet", batch=9))
    np.testing.assert_allclose(first["scores"].to_pylist(), second["scores"].to_pylist(), rtol=1e-3, atol=1e-5)


def test_importance_of_too_few_images_or_other_grids_is_refused(run, tmp_path):
    folder, samples, *_ = run
    with pytest.raises(InputError, match=r"^.*: images by class \{0: 4, 1: 4, 2: 4\}; 5 of each are needed"):
        attributed(folder, tmp_path / "scores.parquet", images_per_class=5)
    first = folder / "000000.parquet"
    part = write_samples(tmp_path / "part.parquet", samples[7:], importance=np.zeros((5, 64)))
    with pytest.raises(InputError, match=r": images by class \{2: 3\}; 4 of each are needed"):
        attributed(folder, tmp_path / "scores.parquet", scores=[first, part], images_per_class=4)
    other = [Sample("a", 0, np.zeros((4, 4), np.uint16))]
    small = write_samples(tmp_path / "small.parquet", other, importance=np.zeros((1, 16)))
    with pytest.raises(InputError, match=r"small.parquet: grids of 4×4 tokens; those of .*000000.parquet are of 8×8"):
        attributed(folder, tmp_path / "scores.parquet", scores=[first, small])
    with pytest.raises(InputError, match=r"attribution 'lime': allowed: gradient, gradient_input, .*, random"):
        attributed(folder, tmp_path / "scores.parquet", methods=["random", "lime"])
    assert not (tmp_path / "scores.parquet").exists()


def test_an_attribution_from_outside_is_one_function(run, tmp_path, monkeypatch):
    folder, samples, codebook, _ = run
    outside = types.ModuleType("outside")
    outside.norm = lambda extractor, embeddings, labels, context: (embeddings - context.nothing[:, None, None]).norm(
        dim=1
    )
    outside.flat = lambda extractor, embeddings, labels, context: embeddings.flatten(2).norm(dim=1)
    monkeypatch.setitem(sys.modules, "outside", outside)
    table = read_table(attributed(folder, tmp_path / "scores.parquet", methods=["random", "outside:norm"]))
    assert list(dict.fromkeys(table["method"].to_pylist())) == ["importance", "random", "outside:norm"]
    expected = (codebook[samples[0].grid.astype(np.int64)] - codebook.mean(0)).norm(dim=2).flatten()
    np.testing.assert_allclose(table["scores"][18].as_py(), expected, rtol=1e-5)
    message = r"attribution outside:flat: scores of shape \[4, 64\]; expected: \[4, 8, 8\]"
    with pytest.raises(InputError, match=message):
        attributed(folder, tmp_path / "other.parquet", methods=["outside:flat"])

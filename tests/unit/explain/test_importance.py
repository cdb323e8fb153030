"""Token importance (METHOD.md, section 4) against a loop over single images, against Captum, and by hand."""

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from pydantic import ValidationError

from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.data.tokens import read_tokens
from cortex.evaluate.accuracy import rank_by_extractor
from cortex.explain.importance import explain_shard, grid_importance, token_importance
from cortex.explain.ranks import ranks
from cortex.explain.settings import Importance
from cortex.extractors.network import build_extractor, save_extractor
from tests.tables import write_samples

SETTINGS = {
    "cnn": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "hidden": 16},
    "resnet": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 16, "hidden": 16},
    "transformer": {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "layers": 2, "heads": 2, "mlp": 16},
}


def extractor(name):
    torch.manual_seed(1)
    network = build_extractor(name, **SETTINGS[name])
    with torch.no_grad():  # batch norms that have seen data
        network.train()
        for _ in range(3):
            network(torch.randn(16, 5, 8, 8))
    return network.eval().requires_grad_(False)


def importance_of_one_image(network, embedding, label, seed, samples, noise, reduction):
    """METHOD.md, section 4, one image and one noisy copy at a time: scores [h, w]."""
    spread = noise * (embedding.max() - embedding.min())
    epsilon = torch.randn((samples, *embedding.shape), generator=torch.Generator().manual_seed(seed))
    total = torch.zeros_like(embedding)
    for sample in range(samples):
        noisy = (embedding + spread * epsilon[sample]).requires_grad_()
        network(noisy[None])[0, label].backward()
        total += noisy.grad
    mean = total / samples
    return mean.max(dim=0).values if reduction == "max" else mean.mean(dim=0)


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


@pytest.fixture
def shard(tmp_path):
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"test-{label:04d}-{index:06d}", label, rng.integers(0, 6, (8, 8)).astype(np.uint16))
        for index in range(4)
        for label in range(3)
    ]
    write_samples(tmp_path / "tokens.parquet", samples)
    codebook = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    write_weights(tmp_path / "codebook.safetensors", {"codebook": codebook}, {})
    network = extractor("cnn")
    save_extractor(tmp_path / "model.safetensors", "cnn", SETTINGS["cnn"], network.state_dict())
    return tmp_path, samples, codebook, network


def explain(folder, **changes):
    output = folder / "importance.parquet"
    inputs = (folder / "tokens.parquet", folder / "model.safetensors", folder / "codebook.safetensors")
    settings = Importance(**({"samples": 4, "batch": 5} | changes))
    explain_shard(output, *inputs, settings=settings, seed=3, device="cpu")
    return output


def test_a_shard_is_explained_image_by_image(shard):
    folder, samples, codebook, network = shard
    table = read_table(explain(folder))
    assert table.column_names == ["key", "label", "tokens", "predicted", "importance"]
    assert table["key"].to_pylist() == [sample.key for sample in samples]
    seeds = key_seeds(3, "importance", [sample.key for sample in samples])
    for row, sample in enumerate(samples):
        embedding = codebook[sample.grid.astype(np.int64)].permute(2, 0, 1)
        expected = importance_of_one_image(network, embedding, sample.label, int(seeds[row]), 4, 0.2, "max")
        np.testing.assert_allclose(table["importance"][row].as_py(), expected.flatten(), rtol=1e-3, atol=1e-6)
        assert table["predicted"][row].as_py() == network(embedding[None]).argmax().item()


def test_scores_do_not_depend_on_the_batch(shard):
    folder, *_ = shard
    first = np.array(read_table(explain(folder, batch=1))["importance"].to_pylist())
    second = np.array(read_table(explain(folder, batch=12))["importance"].to_pylist())
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-6)


def test_scores_stand_beside_the_tokens_that_they_are_of(shard):
    folder, samples, codebook, network = shard
    images = read_tokens(folder / "tokens.parquet")
    explained = read_tokens(explain(folder), ["importance"], like=images)
    assert explained.labels.tolist() == [sample.label for sample in samples]
    seeds = key_seeds(3, "importance", explained.keys).tolist()
    grids, labels = torch.from_numpy(explained.grids), torch.from_numpy(explained.labels)
    again = grid_importance(network, codebook, grids, labels, seeds, Importance(samples=4, batch=5))
    np.testing.assert_array_equal(again, explained.scores["importance"])
    write_samples(folder / "reversed.parquet", samples[::-1])
    with pytest.raises(InputError, match=r"reversed.parquet: not of the same images.*importance.parquet"):
        read_tokens(folder / "reversed.parquet", like=explained)


def test_an_extractor_of_other_channels_than_the_codebooks_is_named(shard):
    folder, *_ = shard
    write_weights(folder / "codebook.safetensors", {"codebook": torch.randn(6, 4)}, {})
    files = (folder / "tokens.parquet", folder / "model.safetensors", folder / "codebook.safetensors")
    with pytest.raises(InputError, match=r"model.safetensors: reads codes of 5 channels; .*codebook.* have 4"):
        explain_shard(folder / "scores.parquet", *files, settings=Importance(), device="cpu")


def test_an_extractor_of_another_grid_or_of_fewer_classes_is_named(shard):
    folder, samples, *_ = shard
    files = (folder / "tokens.parquet", folder / "model.safetensors", folder / "codebook.safetensors")
    samples[5].label = 70
    write_samples(folder / "tokens.parquet", samples)
    with pytest.raises(InputError, match=r"model.safetensors: knows the classes 0 to \d+; here is class 70"):
        explain_shard(folder / "scores.parquet", *files, settings=Importance(), device="cpu")
    with pytest.raises(InputError, match=r"model.safetensors: knows the classes 0 to \d+; here is class 70"):
        rank_by_extractor(folder / "rows.parquet", [files[0]], *files[1:], split="test", batch=100, device="cpu")
    for sample in samples:
        sample.grid = np.zeros((8, 4), np.uint16)
    write_samples(folder / "tokens.parquet", samples)
    with pytest.raises(InputError, match=r"model.safetensors: reads grids of 8×8 tokens; these are of 8×4"):
        explain_shard(folder / "scores.parquet", *files, settings=Importance(), device="cpu")


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

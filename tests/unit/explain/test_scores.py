"""Scores of shards and of some images by any attribution: against the definitions, one image at a time."""

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
from cortex.data.tokens import read_tokens
from cortex.evaluate.accuracy import rank_by_extractor
from cortex.explain.scores import attribute_images, explain_shard, score_images
from cortex.explain.settings import Importance
from cortex.extractors.network import save_extractor
from tests.tables import write_samples
from tests.unit.explain.by_hand import SETTINGS, extractor, importance_of_one_image, scores_of_one_image

METHODS = ["gradient", "gradient_input", "integrated_gradients", "smoothgrad_mean", "occlusion", "random"]


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


def explain(folder, method="tis", **changes):
    output = folder / "importance.parquet"
    inputs = (folder / "tokens.parquet", folder / "model.safetensors", folder / "codebook.safetensors")
    settings = Importance(**({"samples": 4, "batch": 5} | changes))
    explain_shard(output, *inputs, method=method, settings=settings, seed=3, device="cpu")
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


@pytest.mark.parametrize("method", ["gradient", "gradient_input", "integrated_gradients", "occlusion"])
def test_a_shard_is_explained_by_any_attribution(shard, method):
    folder, samples, codebook, network = shard
    table = read_table(explain(folder, method, steps=7))
    assert table.column_names == ["key", "label", "tokens", "predicted", "importance"]
    for row, sample in enumerate(samples):
        embedding = codebook[sample.grid.astype(np.int64)].permute(2, 0, 1)
        expected = scores_of_one_image(method, network, embedding, sample.label, codebook.mean(0), steps=7)
        np.testing.assert_allclose(table["importance"][row].as_py(), expected.flatten(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["tis", "integrated_gradients", "random"])
def test_scores_of_a_shard_do_not_depend_on_the_batch(shard, method):
    folder, *_ = shard
    first = np.array(read_table(explain(folder, method, batch=1))["importance"].to_pylist())
    second = np.array(read_table(explain(folder, method, batch=12))["importance"].to_pylist())
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=1e-6)


def test_scores_stand_beside_the_tokens_that_they_are_of(shard):
    folder, samples, codebook, network = shard
    images = read_tokens(folder / "tokens.parquet")
    explained = read_tokens(explain(folder), ["importance"], like=images)
    assert explained.labels.tolist() == [sample.label for sample in samples]
    again = score_images("tis", network, codebook, images, Importance(samples=4, batch=5), seed=3)
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


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two token tables, with an extractor."""
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
        write_samples(folder / f"{shard:06d}.parquet", samples[6 * shard : 6 * shard + 6])
    return folder, samples, codebook, network


def explained(folder, tokens, output, **changes):
    settings = Importance(**({"samples": 3} | changes))
    files = (folder / "model.safetensors", folder / "codebook.safetensors")
    explain_shard(output, tokens, *files, settings=settings, seed=3, device="cpu")
    return output


def attributed(folder, output, *, batch=4, **changes):
    tokens = [folder / "000000.parquet", folder / "000001.parquet"]
    options = {"methods": METHODS, "images_per_class": 3} | changes
    attribute_images(
        output,
        options.pop("tokens", tokens),
        folder / "model.safetensors",
        folder / "codebook.safetensors",
        importance=Importance(samples=3, batch=batch, steps=4),
        seed=3,
        device="cpu",
        **options,
    )
    return output


def test_the_first_images_of_every_class_are_scored(run, tmp_path):
    folder, samples, codebook, network = run
    table = read_table(attributed(folder, tmp_path / "scores.parquet"))
    chosen = samples[:9]
    assert table["method"].to_pylist() == list(np.repeat(["tis", *METHODS], 9))
    assert table["key"].to_pylist() == [sample.key for sample in chosen] * 7
    assert table["label"].to_pylist() == [sample.label for sample in chosen] * 7
    scores = np.array(table["scores"].to_pylist()).reshape(7, 9, 64)
    explained(folder, folder / "000000.parquet", tmp_path / "importance.parquet")
    of_first = np.array(read_table(tmp_path / "importance.parquet")["importance"].to_pylist())
    np.testing.assert_allclose(scores[0][:6], of_first, rtol=1e-3, atol=1e-6)  # in other batches
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
    mean = explained(folder, folder / "000000.parquet", tmp_path / "mean.parquet", reduction="mean")
    expected = np.array(read_table(mean)["importance"].to_pylist())
    np.testing.assert_allclose(read_table(output)["scores"].to_pylist()[9:15], expected, rtol=1e-3, atol=1e-6)


def test_scores_of_methods_do_not_depend_on_the_batch(run, tmp_path):
    folder, *_ = run
    first = read_table(attributed(folder, tmp_path / "one.parquet", batch=1))
    second = read_table(attributed(folder, tmp_path / "all.parquet", batch=9))
    np.testing.assert_allclose(first["scores"].to_pylist(), second["scores"].to_pylist(), rtol=1e-3, atol=1e-5)


def test_too_few_images_other_grids_and_unknown_methods_are_refused(run, tmp_path):
    folder, samples, *_ = run
    with pytest.raises(InputError, match=r"^.*: images by class: 0: 4, 1: 4, 2: 4; 5 of each are needed"):
        attributed(folder, tmp_path / "scores.parquet", images_per_class=5)
    first = folder / "000000.parquet"
    part = write_samples(tmp_path / "part.parquet", samples[7:])
    with pytest.raises(InputError, match=r": images by class: 2: 3; 4 of each are needed"):
        attributed(folder, tmp_path / "scores.parquet", tokens=[first, part], images_per_class=4)
    other = [Sample("a", 0, np.zeros((4, 4), np.uint16))]
    small = write_samples(tmp_path / "small.parquet", other)
    with pytest.raises(InputError, match=r"small.parquet: grids of 4×4 tokens; those of .*000000.parquet are of 8×8"):
        attributed(folder, tmp_path / "scores.parquet", tokens=[first, small])
    with pytest.raises(InputError, match=r"attribution 'lime': allowed: tis, gradient, gradient_input, .*, random"):
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
    assert list(dict.fromkeys(table["method"].to_pylist())) == ["tis", "random", "outside:norm"]
    expected = (codebook[samples[0].grid.astype(np.int64)] - codebook.mean(0)).norm(dim=2).flatten()
    np.testing.assert_allclose(table["scores"][18].as_py(), expected, rtol=1e-5)
    message = r"attribution outside:flat: scores of shape \[4, 64\]; expected: \[4, 8, 8\]"
    with pytest.raises(InputError, match=message):
        attributed(folder, tmp_path / "other.parquet", methods=["outside:flat"])

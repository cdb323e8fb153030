"""Stability: growing sets of noisy copies against the mean of one backward pass a copy."""

import numpy as np
import pytest
import torch
from scipy import stats

from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.data.tokens import read_tokens
from cortex.explain.scores import explain_shard
from cortex.explain.settings import Importance
from cortex.extractors.codebook import load_codebook, look_up
from cortex.extractors.network import build_extractor, save_extractor
from cortex.report.results import claims
from cortex.studies.run import run_study
from cortex.studies.stability import noise as stability
from cortex.studies.stability import page as topic
from cortex.studies.stability.noise import importance_at
from cortex.studies.stability.settings import Stability
from tests.tables import write_samples

SETTINGS = {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "hidden": 16}
KEYS = ["a", "b"]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    built = build_extractor("cnn", **SETTINGS)
    for _ in range(3):
        built.train()(torch.randn(16, 5, 8, 8))
    return built.eval().requires_grad_(False)


def test_scores_are_means_over_all_copies_so_far(network, monkeypatch):
    monkeypatch.setattr(stability, "AT_ONCE", 2)
    embeddings, labels, noise = torch.randn(2, 5, 8, 8), torch.tensor([1, 2]), 0.3
    found = list(importance_at(network, embeddings, labels, KEYS, [1, 4], seed=7, stream="first", noise=noise))
    for image, key in enumerate(KEYS):
        gradients = []
        for done, drawn in ((0, 1), (1, 2), (3, 1)):  # up to 1; then to 4, two at a time
            seed = int(key_seeds(7, f"stability first {done}", [key])[0])
            draws = torch.randn((drawn, 5, 8, 8), generator=torch.Generator().manual_seed(seed))
            spread = noise * (embeddings[image].max() - embeddings[image].min())
            for draw in draws:
                noisy = (embeddings[image] + spread * draw).requires_grad_()
                network(noisy[None])[0, labels[image]].backward()
                gradients.append(noisy.grad)
        for count, scores in zip((1, 4), found, strict=True):
            expected = torch.stack(gradients[:count]).mean(0).amax(0)
            torch.testing.assert_close(scores[image], expected, rtol=1e-3, atol=1e-6)


@pytest.fixture(scope="module")
def files(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stability")
    rng = np.random.default_rng(0)
    grids = rng.integers(0, 6, (9, 8, 8)).astype(np.uint16)
    tokens = write_samples(
        folder / "tokens.parquet", [Sample(f"k{place}", place % 3, grid) for place, grid in enumerate(grids)]
    )
    write_weights(folder / "codebook.safetensors", {"codebook": torch.randn(6, 5)}, {})
    save_extractor(folder / "model.safetensors", "cnn", SETTINGS, network.state_dict())
    paths = {"extractor": folder / "model.safetensors", "codebook": folder / "codebook.safetensors"}
    scores = folder / "importance.parquet"
    explain_shard(scores, tokens, *paths.values(), settings=Importance(samples=2), device="cpu")
    return {"scores": [scores], **paths}


def run(output, files, settings, noise=0.2):
    settings = Stability(study="stability", **settings)
    run_study(output, **files, settings=settings, importance=Importance(noise=noise).model_dump_json(), device="cpu")
    return read_table(output).to_pylist()


def test_more_copies_agree_better_and_without_noise_all_agree(files, tmp_path):
    settings = {"samples": [40, 1], "reference": 80, "top_n": [5, 64], "images_per_class": 2}
    rows = run(tmp_path / "noisy.parquet", files, settings)
    assert len(rows) == 6 * 2 * 2 * 3  # images × numbers of copies × beside what × measures
    assert {row["key"] for row in rows} == {f"k{place}" for place in range(6)}
    means = {}
    for row in rows:
        means.setdefault((row["samples"], row["other_samples"], row["measure"], row["n"]), []).append(row["value"])
    means = {place: np.mean(values) for place, values in means.items()}
    for measure, n in (("correlation", None), ("overlap", 5)):
        assert means[1, 1, measure, n] < means[40, 40, measure, n] < 1
        assert means[1, 1, measure, n] < means[1, 80, measure, n] < means[40, 80, measure, n]
    assert means[1, 1, "overlap", 64] == means[40, 80, "overlap", 64] == 1  # all positions are the same
    for row in run(tmp_path / "plain.parquet", files, settings, noise=0.0):
        assert row["value"] == pytest.approx(1, abs=0.01 if row["measure"] == "correlation" else 0.21)  # near ties


def test_the_reference_has_the_most_copies(fitting):
    fitting["studies"] = {"stability": {"samples": [1, 3], "reference": 3}}
    with pytest.raises(InputError, match=r"^config: studies.stability.reference = 3: should be more than samples = 3"):
        parse_config(fitting)


def test_scipy_agrees_that_a_row_is_spearmans(files, tmp_path, network):
    settings = {"samples": [2], "reference": 3, "top_n": [5], "images_per_class": 1}
    rows = run(tmp_path / "rows.parquet", files, settings)
    (row,) = [r for r in rows if r["key"] == "k1" and r["other_samples"] == 2 and r["measure"] == "correlation"]
    grid = read_tokens(files["scores"]).grids[1:2]
    codebook = load_codebook(files["codebook"], torch.device("cpu"))
    embedding = look_up(codebook, torch.from_numpy(grid))
    one, other = (
        next(importance_at(network, embedding, torch.tensor([1]), ["k1"], [2], seed=0, stream=stream)).flatten()
        for stream in ("first", "second")
    )
    assert row["value"] == pytest.approx(stats.spearmanr(one, other).statistic, abs=0.01)


def overlap(extractor, samples, value):
    at = {"samples": samples, "other_samples": samples, "measure": "overlap", "n": 5, "images": 50}
    return {"extractor": extractor, **at, "value": value, "low": value - 0.01, "high": value + 0.01}


def test_the_report_names_the_smallest_number_that_is_enough():
    values = {"cnn": (0.5, 0.8, 0.9), "resnet": (0.2, 0.75, 0.7)}
    rows = [overlap(name, samples, values[name][at]) for name in values for at, samples in enumerate((1, 10, 20))]
    rows.append(overlap("cnn", 10, 0.9) | {"other_samples": 200})
    found = topic.section(rows)
    assert found.findings[0].headline.endswith(
        "of the 5 highest positions: cnn 10, overlap 0.80 (0.79 to 0.81); resnet more than 20, overlap 0.70 (0.69 to "
        "0.71)."
    )
    noise = (
        "The scores of an image are means over noisy copies of it. Copies that are needed until two sets of them "
        "agree in 80 % of the 5 highest positions: "
        "cnn 10, resnet more than 20."
    )
    assert found.answers == {"reliability": noise}
    assert topic.section(rows, copies=7).answers == {"reliability": f"{noise} The scores of the run use 7."}
    none = topic.section([row for row in rows if row["extractor"] == "resnet"] + rows[-1:])
    assert none.findings[0].headline.endswith("positions: resnet more than 20, overlap 0.70 (0.69 to 0.71).")


def test_the_pipeline_compares_every_number_of_copies(controlled_run):
    rows = claims(read_table(controlled_run / "results" / "tiny" / "metrics" / "stability.parquet").to_pylist())
    settings = {(row["extractor"], row["samples"], row["other_samples"], row["measure"], row["n"]) for row in rows}
    assert len(settings) == len(rows) == 3 * 2 * 2 * 2
    assert {setting[1:3] for setting in settings} == {(1, 1), (1, 4), (3, 3), (3, 4)}
    assert "How many noisy copies do the scores need?" in (controlled_run / "results/tiny/report.html").read_text()

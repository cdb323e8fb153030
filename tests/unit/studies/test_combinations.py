"""Combinations: Shapley values against all orders and all subsets, removal against a loop, costs by hand."""

from itertools import combinations, permutations
from math import factorial

import numpy as np
import pytest
import torch
from torch import nn

from cortex.core.randomness import key_seeds
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.data.shard_reader import Sample
from cortex.explain.scores import explain_shard
from cortex.explain.settings import Importance
from cortex.extractors.network import build_extractor, save_extractor
from cortex.report.results import claims
from cortex.studies.combinations import page as topic
from cortex.studies.combinations import removal as control
from cortex.studies.combinations.removal import Removal, greedy_order, shapley_drops
from cortex.studies.combinations.settings import Combinations
from cortex.studies.run import run_study
from tests.tables import write_samples

SETTINGS = {"channels": 5, "classes": 3, "grid": (2, 3), "width": 16, "hidden": 16}
P = 6


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(3)
    built = build_extractor("resnet", **SETTINGS)
    for _ in range(3):
        built.train()(torch.randn(16, 5, 2, 3))
    return built.eval().requires_grad_(False)


@pytest.fixture
def removal(network):
    """Two images of 2 × 3 tokens."""
    codebook = 3 * torch.randn(9, 5, generator=torch.Generator().manual_seed(1))
    grids = torch.from_numpy(np.random.default_rng(2).permutation(9)[:6].reshape(1, 2, 3)).repeat(2, 1, 1)
    grids[1] = 8 - grids[0]
    return Removal(network, codebook, grids, torch.tensor([2, 0]), 500)


def logit(removal, image, removed):
    """The label's logit of one image without some positions, its embedding written token by token."""
    vectors = [
        removal.codebook.mean(0) if place in removed else removal.codebook[token]
        for place, token in enumerate(removal.grids[image].flatten().tolist())
    ]
    embedding = torch.stack(vectors).T.reshape(1, -1, 2, 3)
    with torch.no_grad():
        return removal.extractor(embedding)[0, removal.labels[image]].item()


def test_removal_is_that_of_one_image_at_a_time(removal):
    sets = [{0}, {1, 4}, set(range(P)), set(), {5, 2, 3}]
    masks = torch.tensor([[place in removed for place in range(P)] for removed in sets]).expand(2, -1, -1)
    removal.batch = 3  # an image's sets in several batches, and both images' in one
    found = removal.logits(masks)
    for image in range(2):
        expected = [logit(removal, image, removed) for removed in sets]
        assert found[image].tolist() == pytest.approx(expected, abs=1e-4)


def exact_shapley(removal, image):
    """Shapley values by their definition, a sum over all subsets of the other positions."""
    worth = {
        frozenset(kept): logit(removal, image, set(range(P)) - set(kept))
        for size in range(P + 1)
        for kept in combinations(range(P), size)
    }
    values = []
    for place in range(P):
        others = [kept for kept in worth if place not in kept]
        weights = [factorial(len(kept)) * factorial(P - len(kept) - 1) / factorial(P) for kept in others]
        gains = [worth[kept | {place}] - worth[kept] for kept in others]
        values.append(sum(weight * gain for weight, gain in zip(weights, gains, strict=True)))
    return values


def test_over_all_orders_the_mean_is_the_shapley_value(removal):
    orders = torch.tensor(list(permutations(range(P)))).expand(2, -1, -1)
    drops = shapley_drops(removal, orders)
    for image in range(2):
        assert drops[image].mean(0).tolist() == pytest.approx(exact_shapley(removal, image), abs=1e-3)
    ends = removal.logits(torch.tensor([[False] * P, [True] * P]).expand(2, -1, -1))
    total = (ends[:, :1] - ends[:, 1:]).expand(-1, 720)  # in every order
    torch.testing.assert_close(drops.sum(2), total, rtol=1e-3, atol=1e-3)


def test_a_sample_of_orders_comes_near_and_each_is_followed_by_its_reverse(removal):
    orders = control.permutations(key_seeds(0, "orders", ["a", "b"]), 60, P)
    assert orders.shape == (2, 120, P)
    assert np.array_equal(orders[:, 60:], orders[:, :60, ::-1])
    assert (np.sort(orders, 2) == np.arange(P)).all()
    drops = shapley_drops(removal, torch.from_numpy(orders))
    for image in range(2):
        exact = np.array(exact_shapley(removal, image))
        assert np.abs(drops[image].mean(0).numpy() - exact).max() < 0.2 * np.abs(exact).max()


def test_greedy_deletion_takes_the_costliest_after_those_before_it(removal):
    found = greedy_order(removal, 4).tolist()
    for image in range(2):
        removed = []
        for _ in range(4):
            rest = [place for place in range(P) if place not in removed]
            removed.append(min(rest, key=lambda place: logit(removal, image, {*removed, place})))
        assert found[image] == removed


class Both(nn.Module):
    """The label's logit: 4 if the first two positions hold more than nothing, else 0, plus 1 for the third."""

    def forward(self, embeddings):
        held = (embeddings[:, 0].flatten(1) > 0).float()
        return (4 * held[:, 0] * held[:, 1] + held[:, 2])[:, None]


def test_costs_by_hand():
    codebook = torch.tensor([[1.0], [-1.0]])  # their mean, what a removed position holds, is 0
    removal = Removal(Both(), codebook, torch.zeros(1, 2, 3, dtype=torch.int64), torch.tensor([0]), 50)
    importance = np.array([[6, 5, 4, 3, 2, 1]], np.float32)
    found = control._measures(removal, importance, ["a"], [2, 3], 200, 0)
    costs = {place: values[0] for place, values in found.items()}
    # Each of the first two brings the 4 down alone; together they cost no more.
    assert costs["together", "importance", 2] == 4
    assert costs["alone", "importance", 2] == 8
    assert costs["interaction", "importance", 2] == -4
    assert costs["together", "importance", 3] == 5
    assert costs["together", "greedy", 2] == 5  # the second of the two is worth nothing any more
    assert costs["interaction", "greedy", 2] == 0
    assert costs["together", "shapley", 3] == 5
    assert costs["beyond_random", "importance", 3] == 5 - costs["together", "random", 3]
    # Shapley values 2, 2, 1, 0, 0, 0.
    expected = np.corrcoef([5.5, 5.5, 4, 2, 2, 2], range(6, 0, -1))[0, 1]
    assert costs["correlation", "importance", None] == pytest.approx(expected, abs=0.05)
    assert costs["correlation", "single", None] == pytest.approx(1, abs=0.05)


def test_rows_of_some_images(network, tmp_path):
    grids = np.random.default_rng(0).integers(0, 9, (12, 2, 3)).astype(np.uint16)
    samples = [Sample(f"k{place:02d}", place % 3, grid) for place, grid in enumerate(grids)]
    tokens = write_samples(tmp_path / "tokens.parquet", samples)
    write_weights(tmp_path / "codebook.safetensors", {"codebook": 3 * torch.randn(9, 5)}, {})
    save_extractor(tmp_path / "model.safetensors", "resnet", SETTINGS, network.state_dict())
    paths = {"extractor": tmp_path / "model.safetensors", "codebook": tmp_path / "codebook.safetensors"}
    scores = tmp_path / "importance.parquet"
    explain_shard(scores, tokens, *paths.values(), settings=Importance(samples=2), device="cpu")
    settings = Combinations(study="combinations", n=[2, 4], pairs=3, images_per_class=4)
    run_study(tmp_path / "rows.parquet", scores=[scores], **paths, settings=settings, device="cpu")
    rows = read_table(tmp_path / "rows.parquet").to_pylist()
    assert len(rows) == 12 * (3 + 2 * (5 * 3 + 4))
    for row in rows:
        at = {
            other["measure"]: other["value"]
            for other in rows
            if (other["key"], other["method"], other["n"]) == (row["key"], row["method"], row["n"])
        }
        if row["measure"] == "interaction":
            assert row["value"] == pytest.approx(at["together"] - at["alone"])


def test_the_report_says_more_less_or_neither():
    def row(measure, method, n, value, low, high):
        of = {"extractor": "cnn", "measure": measure, "method": method, "n": n, "images": 30}
        return {**of, "value": value, "low": low, "high": high}

    rows = [row("correlation", method, None, 0.1, -0.1, 0.3) for method in ("importance", "single", "shapley")]
    for n, value, low, high in ((2, 0.5, 0.1, 0.9), (5, -0.5, -0.9, -0.1), (10, 0.1, -0.1, 0.3)):
        for method in ("importance", "random"):
            rows += [row("together", method, n, 1.0, 0.5, 1.5), row("alone", method, n, 1.0, 0.5, 1.5)]
            rows.append(row("interaction", method, n, value, low, high))
        rows.append(row("beyond_random", "importance", n, 0.0, -0.2, 0.2))
    section = topic.section(rows)
    agreement, removal, interaction = section.findings
    assert "No correlation of the importance is found with cnn" in agreement.details[-1]
    assert removal.details == ["No difference to random positions found: cnn."]
    assert "above 0 in 1, below 0 in 1, no difference found in 1 of 3 combinations" in interaction.headline
    assert interaction.details == [
        "Above 0: cnn at n = 2, 0.50 (0.10 to 0.90).",
        "Below 0: cnn at n = 5, −0.50 (−0.90 to −0.10).",
        "No difference found: cnn at n = 10, 0.10 (−0.10 to 0.30).",
    ]
    assert [len(table.rows) for *_, table in section.tables] == [6, 1]


def test_the_pipeline_removes_by_every_method(controlled_run):
    rows = claims(read_table(controlled_run / "results" / "tiny" / "metrics" / "combinations.parquet").to_pylist())
    assert len(rows) == 3 * (3 + 2 * (5 * 3 + 4))
    assert {row["n"] for row in rows} == {None, 2, 4}
    assert all(row["images"] == 3 for row in rows)
    assert "What are tokens worth together?" in (controlled_run / "results/tiny/report.html").read_text()

"""Other attributions (METHOD.md, section 9): against loops over single images, their axioms, and curves by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import stats

from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds, uniforms
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.decoded import decode_images
from cortex.data.shard_reader import Sample, first_images
from cortex.data.shard_writer import write_shard
from cortex.evaluate.image_level import SCHEMA as ROWS
from cortex.evaluate.image_level import judge_images
from cortex.explain.attributions import attribute_images, attribution
from cortex.explain.importance import explain_shard
from cortex.extractors.network import build_extractor, save_extractor
from cortex.judges.networks import ViT
from cortex.studies.attributions.judged import area, areas, judge_attributions, rank_attributions
from cortex.studies.attributions.page import section

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


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("method", ["gradient", "gradient_input", "integrated_gradients", "occlusion"])
def test_a_batch_gets_what_a_loop_over_images_gets(method, name):
    network, (embeddings, nothing) = extractor(name).double(), images()
    batched = attribution(method, network, embeddings, torch.tensor(LABELS), nothing, [0] * 4, samples=7, steps=20)
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
    scores = attribution("integrated_gradients", network, embeddings, labels, nothing, [0] * 4, steps=500)
    assert ((scores.sum((1, 2)) - rise).abs() < 0.01 * scores.abs().sum((1, 2))).all()
    few = attribution("integrated_gradients", network, embeddings, labels, nothing, [0] * 4, steps=2)
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
        return attribution(method, Linear(), embeddings, labels, nothing, [1, 2], **settings).tolist()

    assert scores("gradient") == [[[1, -2]], [[3, 4]]]
    assert scores("gradient", reduction="mean") == [[[-1, -3]], [[1, 3]]]
    assert scores("gradient_input") == [[[2 - 3, -2 - 2]], [[1, 4]]]
    # (2−1)·1 + (1+1)·(−3) and (1−1)·(−2) + (0.5+1)·(−4); what is linear falls by as much when it is taken away.
    assert np.allclose(scores("integrated_gradients"), [[[-5, -6]], [[5, 6]]])
    assert np.allclose(scores("occlusion"), [[[-5, -6]], [[5, 6]]])
    assert np.allclose(scores("smoothgrad_mean"), [[[-1, -3]], [[1, 3]]])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two shards of grids with their images, an extractor with its importance, a judge."""
    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    samples = [
        Sample(
            f"test-{label:04d}-{index:06d}",
            label,
            rng.integers(0, 6, (8, 8)).astype(np.uint16),
            rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
        )
        for index in range(4)
        for label in (2, 0, 1)
    ]
    codebook = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    write_weights(folder / "codebook.safetensors", {"codebook": codebook}, {})
    network = extractor("cnn")
    save_extractor(folder / "model.safetensors", "cnn", SETTINGS["cnn"], network.state_dict())
    torch.manual_seed(0)
    write_weights(folder / "judge.safetensors", ViT(classes=10).state_dict(), {"judge": "vit"})
    for shard in (0, 1):
        write_shard(folder / f"{shard:06d}.tar", samples[6 * shard : 6 * shard + 6])
        decode_images(folder / f"{shard:06d}.npy", folder / f"{shard:06d}.tar")
        explain_shard(
            folder / f"{shard:06d}.parquet",
            folder / f"{shard:06d}.tar",
            folder / "model.safetensors",
            folder / "codebook.safetensors",
            samples=3,
            seed=3,
            device="cpu",
        )
    return folder, samples, codebook, network


def attributed(folder, output, **changes):
    settings = {"classes": [0, 1, 2], "images_per_class": 3, "steps": 4, "samples": 3, "batch": 4, "seed": 3}
    attribute_images(
        output,
        [folder / "000000.tar", folder / "000001.tar"],
        [folder / "000000.parquet", folder / "000001.parquet"],
        folder / "model.safetensors",
        folder / "codebook.safetensors",
        **({"methods": METHODS, "device": "cpu"} | settings | changes),
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
    explain_shard(
        tmp_path / "mean.parquet",
        folder / "000000.tar",
        folder / "model.safetensors",
        folder / "codebook.safetensors",
        samples=3,
        reduction="mean",
        seed=3,
        device="cpu",
    )
    expected = np.array(read_table(tmp_path / "mean.parquet")["importance"].to_pylist())
    np.testing.assert_allclose(read_table(output)["scores"].to_pylist()[9:15], expected, rtol=1e-3, atol=1e-6)


def test_scores_do_not_depend_on_the_batch(run, tmp_path):
    folder, *_ = run
    first = read_table(attributed(folder, tmp_path / "one.parquet", batch=1))
    second = read_table(attributed(folder, tmp_path / "all.parquet", batch=9))
    np.testing.assert_allclose(first["scores"].to_pylist(), second["scores"].to_pylist(), rtol=1e-3, atol=1e-5)


def test_importance_of_other_images_or_grids_is_refused(run, tmp_path):
    folder, samples, *_ = run
    with pytest.raises(InputError, match=r"^.*: \{1: 4\} images of these classes; 5 of each are needed"):
        attributed(folder, tmp_path / "scores.parquet", classes=[1], images_per_class=5)
    part = read_table(folder / "000001.parquet")
    write_table(tmp_path / "part.parquet", part.slice(1))
    files = (folder / "model.safetensors", folder / "codebook.safetensors")
    settings = {"methods": ["random"], "classes": [0, 1, 2], "images_per_class": 4, "device": "cpu"}
    shards, first = [folder / "000000.tar", folder / "000001.tar"], folder / "000000.parquet"
    with pytest.raises(InputError, match=rf"no importance of image '{samples[6].key}'"):
        attribute_images(tmp_path / "scores.parquet", shards, [first, tmp_path / "part.parquet"], *files, **settings)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(6 * 16, np.float32)), 16)
    write_table(tmp_path / "small.parquet", pa.table({"key": part["key"], "importance": flat}))
    with pytest.raises(InputError, match=r"small.parquet: 16 scores an image, the grids have 64 positions"):
        attribute_images(tmp_path / "scores.parquet", shards, [first, tmp_path / "small.parquet"], *files, **settings)
    with pytest.raises(InputError, match=r"method 'lime': allowed: gradient, gradient_input, .*, random"):
        attributed(folder, tmp_path / "scores.parquet", methods=["random", "lime"])
    assert not (tmp_path / "scores.parquet").exists()


def test_shards_are_read_no_further_than_needed(run, tmp_path):
    folder, samples, *_ = run
    shards = [folder / "000000.tar", tmp_path / "missing.tar"]
    assert [sample.key for sample in first_images(shards, [0, 2], 2)] == [samples[i].key for i in (0, 1, 3, 4)]
    with pytest.raises(InputError, match=r"missing.tar: no such shard"):
        first_images(shards, [0, 2], 3)


def judged(folder, scores, output):
    shards, images = ([folder / f"{shard}.{kind}" for shard in ("000000", "000001")] for kind in ("tar", "npy"))
    judge = folder / "judge.safetensors"
    judge_attributions(output, scores, shards, images, judge, codes=6, n=[1, 3], batch=4, device="cpu")
    return output


def test_attributions_are_judged_as_the_importance_is_at_the_image_level(run, tmp_path):
    """Importance and random are the image level's, number by number; everything is the black image."""
    folder, *_ = run
    scores = attributed(folder, tmp_path / "scores.parquet")
    rows = read_table(judged(folder, scores, tmp_path / "rows.parquet")).to_pandas()
    assert rows.groupby("method", sort=False).size().to_dict() == dict.fromkeys(["importance", *METHODS], 18) | {
        "everything": 9
    }
    judge_images(
        tmp_path / "image_level.parquet",
        folder / "000000.tar",
        folder / "000000.npy",
        folder / "000000.parquet",
        folder / "judge.safetensors",
        codes=6,
        n=[1, 3],
        seed=3,
        device="cpu",
    )
    expected = read_table(tmp_path / "image_level.parquet").to_pandas()
    expected = expected[expected.method.isin(["importance", "random"])].set_index(["method", "n", "key"])
    found = rows.set_index(["method", "n", "key"]).loc[expected.index]
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)
    black = rows[rows.method == "everything"]
    assert (black.n == 64).all()
    assert (black.masked_fraction == 1).all()
    assert np.allclose(black.masked_brightness, 1)
    assert black.logit.nunique() == 3, "one black image, three labels"


def test_the_area_by_hand():
    """Two images, two masking sizes: trapezoids from nothing masked to the largest n, or to all that is black."""
    curve = {
        "n": np.array([[1, 1], [4, 4]]),
        "probability_change": np.array([[-0.2, 0.1], [-0.4, -0.5]]),
        "masked_fraction": np.array([[0.25, 0.5], [0.5, 0.5]]),
        "masked_brightness": np.array([[0.1, 0.0], [1.0, 0.5]]),
    }
    end = {
        "probability_change": np.array([[-0.6, -0.9]]),
        "masked_fraction": np.array([[1.0, 1.0]]),
        "masked_brightness": np.array([[1.0, 1.0]]),
    }
    by_n = [-0.1 * 0.25 - 0.3 * 0.75, 0.05 * 0.25 - 0.2 * 0.75]
    by_area = [-0.1 * 0.25 - 0.3 * 0.25 - 0.5 * 0.5, 0.05 * 0.5 - 0.7 * 0.5]
    by_brightness = [-0.1 * 0.1 - 0.3 * 0.9, -0.2 * 0.5 - 0.7 * 0.5]
    for over, expected in (("n", by_n), ("masked_fraction", by_area), ("masked_brightness", by_brightness)):
        assert np.allclose(area(curve, end, over), expected)


def rows_of(rng, folder, name, means, keys=40):
    """Judged rows in which the methods' curves fall to the means."""
    tables = []
    for method, mean in [*means.items(), ("everything", -0.8)]:
        for n in [16] if method == "everything" else [2, 4]:
            depth = mean * n / 4 if method != "everything" else mean
            tables.append(
                pa.table(
                    {
                        "key": [f"k{index:03d}" for index in rng.permutation(keys)],
                        "label": [0] * keys,
                        "method": [method] * keys,
                        "n": [n] * keys,
                        "probability_change": depth + rng.normal(0, 0.1, keys),
                        "masked_fraction": [n / 16] * keys,
                        "masked_brightness": [n / 16] * keys,
                        **dict.fromkeys(["probability", "logit", "logit_change"], [0.0] * keys),
                    }
                )
                .select(ROWS.names)
                .cast(ROWS)
            )
    write_table(folder / name, pa.concat_tables(tables))
    return folder / name


@pytest.fixture
def ranked(tmp_path):
    rng = np.random.default_rng(5)
    means = {"importance": -0.3, "gradient": -0.7, "occlusion": -0.3, "random": -0.05}
    files = [rows_of(rng, tmp_path, f"{judge}.parquet", means) for judge in ("a", "b")]
    output = tmp_path / "attributions.parquet"
    rank_attributions(output, files, extractors=["cnn", "cnn"], judges=["a", "b"], resamples=500)
    return files, read_table(output)


def test_methods_are_ranked_and_compared_image_by_image(ranked):
    """Areas by a loop over images, tests by scipy, over both judges together and each alone."""
    files, table = ranked
    rows = table.to_pandas()
    assert len(rows) == 3 * 3 * 4
    frames = {judge: read_table(path).to_pandas() for judge, path in zip("ab", files, strict=True)}
    for over in ("n", "masked_fraction", "masked_brightness"):
        found = {"a": {}, "b": {}, None: {}}
        for judge, frame in frames.items():
            for method in ("importance", "gradient", "occlusion", "random"):
                values = []
                for key in sorted(set(frame.key)):
                    points = frame[(frame.key == key) & (frame.method == method)].sort_values("n")
                    ends = frame[(frame.key == key) & (frame.method == "everything")]
                    at = [0, 2 / 4, 4 / 4] if over == "n" else [0, *points[over], *ends[over]]
                    falls = [0, *points.probability_change, *([] if over == "n" else ends.probability_change)]
                    values.append(sum((at[i + 1] - at[i]) * (falls[i] + falls[i + 1]) / 2 for i in range(len(at) - 1)))
                found[judge][method] = np.array(values)
        found[None] = {method: (found["a"][method] + found["b"][method]) / 2 for method in found["a"]}
        for judge, of_method in found.items():
            part = rows[(rows.over == over) & (rows.judge.isna() if judge is None else rows.judge == judge)]
            part = part.set_index("method")
            means = {method: values.mean() for method, values in of_method.items()}
            assert list(part.index) == sorted(means, key=means.get)
            assert list(part["rank"]) == [1, 2, 3, 4]
            for method, values in of_method.items():
                row = part.loc[method]
                assert row.auc == pytest.approx(values.mean())
                assert row.auc_low < row.auc < row.auc_high
                assert row.auc_high - row.auc_low == pytest.approx(2 * 1.96 * stats.sem(values), rel=0.25)
                if method == "importance":
                    assert row[["difference", "difference_low", "p", "p_corrected", "verdict"]].isna().all()
                    continue
                test = stats.ttest_rel(values, of_method["importance"])
                assert row.difference == pytest.approx(values.mean() - means["importance"])
                assert row.p == pytest.approx(test.pvalue)
                assert row.difference_low < row.difference < row.difference_high
                assert row.p_corrected >= row.p
            assert list(part.verdict[["gradient", "occlusion", "random"]]) == ["better", "no difference found", "worse"]
    alone = rows[(rows.over == "n") & rows.judge.notna() & rows.p.notna()].sort_values("p")
    assert alone.p_corrected.iloc[0] == pytest.approx(6 * alone.p.iloc[0]), "three methods and two judges"


def test_files_that_do_not_go_together_are_refused(tmp_path):
    rng = np.random.default_rng(4)
    whole = rows_of(rng, tmp_path, "whole.parquet", {"importance": -0.3, "random": -0.1})
    other = rows_of(rng, tmp_path, "other.parquet", {"importance": -0.3, "gradient": -0.1})
    fewer = rows_of(rng, tmp_path, "fewer.parquet", {"importance": -0.3, "random": -0.1}, keys=30)
    without = rows_of(rng, tmp_path, "without.parquet", {"gradient": -0.3})
    output = tmp_path / "attributions.parquet"
    for wrong in (other, fewer):
        with pytest.raises(InputError, match=rf"{wrong.name}: not the methods and images of .*whole.parquet"):
            rank_attributions(output, [whole, wrong], extractors=["cnn"] * 2, judges=["a", "b"])
    with pytest.raises(InputError, match=r"without.parquet: no method 'importance'; it has everything, gradient"):
        rank_attributions(output, [without], extractors=["cnn"], judges=["a"])
    table = read_table(whole)
    write_table(tmp_path / "torn.parquet", table.slice(1))
    with pytest.raises(InputError, match=r"torn.parquet: not the same images at every n for importance"):
        areas(tmp_path / "torn.parquet")
    with pytest.raises(InputError, match="1 files, 2 extractors, 1 judges: one of each a file"):
        rank_attributions(output, [whole], extractors=["cnn"] * 2, judges=["a"])


def test_the_page_names_what_the_importance_loses_against(ranked):
    _, table = ranked
    topic = section(table.to_pylist())
    first = topic.findings[0]
    assert (
        first.headline
        == (
            "By the area under the masking curve over n, the importance ranks 3 of 4 with cnn (first: gradient). Of 3 "
            "comparisons with another method, it is better in 1, worse in 1, no difference found in 1."
        )
        or "ranks 2 of 4" in first.headline
    )
    assert first.details == [
        "Better: random (cnn).",
        "Worse: gradient (cnn).",
        "No difference found: occlusion (cnn).",
    ]
    assert len(topic.findings) == 3
    of = {(row["over"], row["method"]): row["auc"] for row in table.to_pylist() if row["judge"] is None}
    lead = {over: of[over, "random"] - of[over, "gradient"] for over in ("masked_fraction", "masked_brightness")}
    assert topic.findings[2].details[-1] == (
        f"The first method is ahead of random positions by {lead['masked_brightness']:.3f} here, and by "
        f"{lead['masked_fraction']:.3f} over the masked share (means over extractors). From the largest n "
        "on, curves are straight lines to the image that is all black, where all meet."
    )
    (_, _, together), (_, _, each) = topic.tables
    assert together.rows[0][1].text == "gradient"
    assert len(together.rows) == 4 and len(each.rows) == 8
    assert all(len(row) == len(table.columns) for table in (together, each) for row in table.rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["lime"]}, r"controls.attributions.methods.0 = 'lime': should be 'gradient', "),
        ({"methods": ["random", "random"]}, "controls.attributions.methods = .*should have every value once"),
        ({"methods": []}, r"controls.attributions.methods = \[\]: "),
        ({"images_per_class": 5}, "controls.attributions.images_per_class = 5: at most data.per_class.test = 4"),
        ({"steps": 0}, "controls.attributions.steps = 0: "),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    config = {
        "run": "r",
        "data": {"classes": [0, 1], "per_class": {"train": 4, "validation": 4, "test": 4}},
        "extractors": {"cnn": {}},
        "codebook_search": {"region": {"top": 0, "left": 0}, "pairs": {0: 1}, "images_per_class": 1},
        "concept_tokens": {"top_n": [1]},
        "judges": {"vit": {"network": "vit", "epochs": 1}},
        "evaluation": {"accuracy": {"k": [1]}, "image_level": {"n": [1]}, "concept_level": {"top_n": [1]}},
    }
    parse_config(config | {"controls": {"attributions": {"images_per_class": 4}}})
    with pytest.raises(InputError, match=rf"^config: {message}"):
        parse_config(config | {"controls": {"attributions": settings}})


def test_the_run_judges_and_ranks_them_for_every_extractor(controlled_run):
    results = controlled_run / "results" / "tiny"
    extractors, judges, methods = ["cnn", "resnet", "transformer"], ["resnet", "vit"], {"importance", *METHODS}
    rows = read_table(results / "metrics" / "attributions.parquet").to_pandas()
    for extractor in extractors:
        scores = read_table(results / "controls" / "attributions" / f"{extractor}.parquet").to_pandas()
        assert scores.groupby("method").label.value_counts().eq(2).all()
        assert set(scores.label) == {1, 2, 7}
        for judge in [*judges, None]:
            part = rows[(rows.extractor == extractor) & (rows.judge.isna() if judge is None else rows.judge == judge)]
            for over, group in part.groupby("over"):
                assert set(group.method) == methods, over
                assert (group.samples == 6).all()
                assert group.auc.is_monotonic_increasing
        judged_rows = read_table(results / "evaluation" / "attributions" / extractor / "vit.parquet").to_pandas()
        assert len(judged_rows) == 6 * (7 * 2 + 1)
    page = (controlled_run / "results" / "tiny" / "report.html").read_text()
    assert "Other attributions, judged the same way" in page

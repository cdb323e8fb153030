"""Attributions, judged and ranked (METHOD.md, section 9): against the image level, loops, and curves by hand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from scipy import stats

from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.decoded import decode_images
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.evaluate.estimates import over_trainings
from cortex.evaluate.image_level import SCHEMA as ROWS
from cortex.evaluate.image_level import judge_images
from cortex.explain.scores import attribute_images, explain_shard
from cortex.explain.settings import Importance
from cortex.extractors.network import build_extractor, save_extractor
from cortex.judges.networks import ViT
from cortex.report.results import claims
from cortex.studies.attributions.judged import area, areas, judge_attributions, rank_attributions
from cortex.studies.attributions.page import section
from tests.tables import write_samples
from tests.training import JUDGE

SETTINGS = {"channels": 5, "classes": 3, "grid": (8, 8), "width": 8, "hidden": 16}
METHODS = ["gradient", "gradient_input", "integrated_gradients", "smoothgrad_mean", "occlusion", "random"]


def extractor():
    torch.manual_seed(1)
    network = build_extractor("cnn", **SETTINGS)
    with torch.no_grad():  # batch norms that have seen data
        network.train()
        for _ in range(40):
            network(torch.randn(16, 5, 8, 8))
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two importance files with their images, the attributions of some of them, and a judge."""
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
    save_extractor(folder / "model.safetensors", "cnn", SETTINGS, extractor().state_dict())
    torch.manual_seed(0)
    write_weights(folder / "judge.safetensors", ViT(classes=10).state_dict(), {"judge": "vit"})
    importance = Importance(samples=3, batch=4, steps=4)
    files = folder / "model.safetensors", folder / "codebook.safetensors"
    for shard in (0, 1):
        write_shard(folder / f"{shard:06d}.tar", samples[6 * shard : 6 * shard + 6])
        decode_images(folder / f"{shard:06d}.npy", folder / f"{shard:06d}.tar")
        tokens = write_samples(folder / f"tokens-{shard}.parquet", samples[6 * shard : 6 * shard + 6])
        explain_shard(folder / f"{shard:06d}.parquet", tokens, *files, settings=importance, seed=3, device="cpu")
    attribute_images(
        folder / "scores.parquet",
        [folder / "tokens-0.parquet", folder / "tokens-1.parquet"],
        *files,
        methods=METHODS,
        images_per_class=3,
        importance=importance,
        seed=3,
        device="cpu",
    )
    return folder


def judged(folder, scores, output, **changes):
    tokens = [folder / "tokens-0.parquet", folder / "tokens-1.parquet"]
    images = [folder / "000000.npy", folder / "000001.npy"]
    options = {"codes": 6, "n": [1, 3], "batch": 4, "device": "cpu"} | changes
    judge_attributions(output, scores, tokens, images, folder / "judge.safetensors", **options)
    return output


def test_attributions_are_judged_as_the_importance_is_at_the_image_level(run, tmp_path):
    """Tis and random are the image level's, number by number; full_mask is the black image."""
    rows = read_table(judged(run, run / "scores.parquet", tmp_path / "rows.parquet")).to_pandas()
    assert rows.groupby("method", sort=False).size().to_dict() == dict.fromkeys(["tis", *METHODS], 18) | {
        "full_mask": 9
    }
    judge_images(
        tmp_path / "image_level.parquet",
        run / "000000.parquet",
        run / "000000.npy",
        run / "judge.safetensors",
        codes=6,
        n=[1, 3],
        batch=4,
        seed=3,
        device="cpu",
    )
    expected = read_table(tmp_path / "image_level.parquet").to_pandas()
    expected = expected.replace({"method": {"importance": "tis"}})
    expected = expected[expected.method.isin(["tis", "random"])].set_index(["method", "n", "key"])
    found = rows.set_index(["method", "n", "key"]).loc[expected.index]
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)
    black = rows[rows.method == "full_mask"]
    assert (black.n == 64).all()
    assert (black.masked_fraction == 1).all()
    assert np.allclose(black.masked_brightness, 1)
    of_labels = black.groupby("label").logit
    assert len(of_labels) == 3 and of_labels.agg(np.ptp).max() < 1e-5, "one black image, but for the judge's rounding"
    assert np.diff(np.sort(of_labels.mean())).min() > 0.01, "and three labels"


def test_scores_of_other_images_or_grids_are_not_judged(run, tmp_path):
    table = read_table(run / "scores.parquet")
    write_table(tmp_path / "torn.parquet", table.slice(1))
    with pytest.raises(InputError, match=r"torn.parquet: not the same images, in the same order, for every method"):
        judged(run, tmp_path / "torn.parquet", tmp_path / "rows.parquet")
    renamed = table.set_column(0, "key", pa.array([f"other-{key}" for key in table["key"].to_pylist()]))
    write_table(tmp_path / "other.parquet", renamed)
    with pytest.raises(InputError, match=r"no image 'other-test-0002-000000'"):
        judged(run, tmp_path / "other.parquet", tmp_path / "rows.parquet")
    small = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(16 * len(table), np.float32)), 16)
    write_table(tmp_path / "small.parquet", table.set_column(3, "scores", small))
    with pytest.raises(InputError, match=r"small.parquet: 16 scores an image, the grids have 64 positions"):
        judged(run, tmp_path / "small.parquet", tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"tokens-0.parquet: .*token 5; allowed: 0 to 4"):
        judged(run, run / "scores.parquet", tmp_path / "rows.parquet", codes=5)
    assert not (tmp_path / "rows.parquet").exists()


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
    for axis, expected in (("n", by_n), ("masked_fraction", by_area), ("masked_brightness", by_brightness)):
        assert np.allclose(area(curve, end, axis), expected)


def rows_of(rng, folder, name, means, keys=40):
    """Judged rows in which the methods' curves fall to the means."""
    tables = []
    for method, mean in [*means.items(), ("full_mask", -0.8)]:
        for n in [16] if method == "full_mask" else [2, 4]:
            depth = mean * n / 4 if method != "full_mask" else mean
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


TRAININGS = (0, 1, 2)


@pytest.fixture
def ranked(tmp_path):
    """Three trainings, which differ a little, judged by two judges."""
    rng = np.random.default_rng(5)
    means = {"tis": -0.3, "gradient": -0.7, "occlusion": -0.3, "random": -0.05}
    files = {
        (training, judge): rows_of(
            rng,
            tmp_path,
            f"{judge}-{training}.parquet",
            {m: mean + 0.005 * (training - 1) for m, mean in means.items()},
        )
        for training in TRAININGS
        for judge in ("a", "b")
    }
    output = tmp_path / "attributions.parquet"
    extractors, judges = [f"cnn/{training}" for training, _ in files], [judge for _, judge in files]
    rank_attributions(output, [*files.values()], extractors=extractors, judges=judges, resamples=500)
    return files, read_table(output)


def areas_by_loop(frame, axis):
    """By method, the area under the curve of every image, trapezoid by trapezoid."""
    found = {}
    for method in ("tis", "gradient", "occlusion", "random"):
        values = []
        for key in sorted(set(frame.key)):
            points = frame[(frame.key == key) & (frame.method == method)].sort_values("n")
            ends = frame[(frame.key == key) & (frame.method == "full_mask")]
            at = [0, 2 / 4, 4 / 4] if axis == "n" else [0, *points[axis], *ends[axis]]
            falls = [0, *points.probability_change, *([] if axis == "n" else ends.probability_change)]
            values.append(sum((at[i + 1] - at[i]) * (falls[i] + falls[i + 1]) / 2 for i in range(len(at) - 1)))
        found[method] = np.array(values)
    return found


def rows_at(rows, axis, judge, training):
    """Rows by method, in their order."""
    of_judge = rows.judge.isna() if judge is None else rows.judge == judge
    of_training = rows.training.isna() if training is None else rows.training == training
    return rows[(rows.curve_axis == axis) & of_judge & of_training].set_index("method")


def test_methods_are_ranked_and_compared_image_by_image(ranked):
    """Areas by a loop over images, tests of a training by scipy, over both judges together and each alone."""
    files, table = ranked
    rows = table.to_pandas()
    assert len(rows) == 3 * 3 * 4 * 4  # axes, judges and their mean, trainings and all, methods
    axis = "masked_fraction"
    found = {place: areas_by_loop(read_table(path).to_pandas(), axis) for place, path in files.items()}
    for training in TRAININGS:
        one, other = (found[training, judge] for judge in ("a", "b"))
        found[training, None] = {method: (one[method] + other[method]) / 2 for method in one}
    for (training, judge), of_method in found.items():
        part = rows_at(rows, axis, judge, training)
        means = {method: values.mean() for method, values in of_method.items()}
        assert list(part.index) == sorted(means, key=means.get)
        assert list(part["rank"]) == [1, 2, 3, 4]
        assert part[["p_corrected", "verdict"]].isna().all(axis=None), "a training claims nothing"
        for method, values in of_method.items():
            row = part.loc[method]
            assert row.auc == pytest.approx(values.mean())
            assert row.auc_low < row.auc < row.auc_high
            assert row.auc_high - row.auc_low == pytest.approx(2 * 1.96 * stats.sem(values), rel=0.25)
            if method == "tis":
                assert row[["difference", "difference_low", "p"]].isna().all()
                continue
            test = stats.ttest_rel(values, of_method["tis"])
            assert row.difference == pytest.approx(values.mean() - means["tis"])
            assert row.p == pytest.approx(test.pvalue)
            assert row.difference_low < row.difference < row.difference_high
    for judge in ("a", "b", None):
        part = rows_at(rows, axis, judge, None)
        stacked = {m: np.stack([found[training, judge][m] for training in TRAININGS]) for m in part.index}
        assert list(part.index) == sorted(stacked, key=lambda method: stacked[method].mean())
        for method, values in stacked.items():
            row, (pooled,) = part.loc[method], over_trainings(values[:, None]).rows()
            assert (row.auc, row.auc_low, row.auc_high) == pytest.approx([pooled[x] for x in ("mean", "low", "high")])
            if method != "tis":
                (pooled,) = over_trainings((values - stacked["tis"])[:, None]).rows()
                assert (row.difference, row.p) == pytest.approx((pooled["mean"], pooled["p"]), rel=1e-5)
        assert list(part.verdict[["gradient", "occlusion", "random"]]) == ["better", "no difference found", "worse"]
        assert part.loc["tis", ["difference", "p", "p_corrected", "verdict"]].isna().all()


@pytest.mark.parametrize("axis", ["n", "masked_fraction", "masked_brightness"])
def test_areas_of_files_are_those_of_a_loop(ranked, axis):
    files, _ = ranked
    methods, _, found = areas(files[0, "a"])
    expected = areas_by_loop(read_table(files[0, "a"]).to_pandas(), axis)
    for method, values in zip(methods, found[axis], strict=True):
        assert values.tolist() == pytest.approx(expected[method].tolist())


def test_claims_of_single_judges_are_corrected_apart_from_their_mean(ranked):
    rows = ranked[1].to_pandas()
    claims = rows[(rows.curve_axis == "n") & rows.training.isna() & rows.p.notna()]
    for whole, count in ((True, 3), (False, 6)):  # three methods; and two judges
        part = claims[claims.judge.isna() == whole].sort_values("p")
        assert part.p_corrected.iloc[0] == pytest.approx(count * part.p.iloc[0])


def test_files_that_do_not_go_together_are_refused(tmp_path):
    rng = np.random.default_rng(4)
    whole = rows_of(rng, tmp_path, "whole.parquet", {"tis": -0.3, "random": -0.1})
    other = rows_of(rng, tmp_path, "other.parquet", {"tis": -0.3, "gradient": -0.1})
    fewer = rows_of(rng, tmp_path, "fewer.parquet", {"tis": -0.3, "random": -0.1}, keys=30)
    without = rows_of(rng, tmp_path, "without.parquet", {"gradient": -0.3})
    output = tmp_path / "attributions.parquet"
    for wrong in (other, fewer):
        with pytest.raises(InputError, match=rf"{wrong.name}: not the methods and images of .*whole.parquet"):
            rank_attributions(output, [whole, wrong], extractors=["cnn"] * 2, judges=["a", "b"])
    with pytest.raises(InputError, match=r"without.parquet: no method 'tis'; it has 'full_mask', 'gradient'"):
        rank_attributions(output, [without], extractors=["cnn"], judges=["a"])
    table = read_table(whole)
    write_table(tmp_path / "torn.parquet", table.slice(1))
    with pytest.raises(InputError, match=r"torn.parquet: not the same images at every n for tis"):
        areas(tmp_path / "torn.parquet")
    with pytest.raises(InputError, match="1 files, 2 extractors, 1 judges: one of each a file"):
        rank_attributions(output, [whole], extractors=["cnn"] * 2, judges=["a"])


def test_the_page_names_what_tis_loses_against(ranked):
    _, table = ranked
    rows = claims(table.to_pylist())
    topic = section(rows)
    first = topic.findings[0]
    assert "rank of tis: 3 of 4 with cnn (first: gradient)" in first.headline or "2 of 4" in first.headline
    assert first.headline.endswith(
        "Tis against other methods: better in 1, worse in 1, no difference found in 1 of 3 comparisons."
    )
    assert first.details == [
        "Better: random (cnn).",
        "Worse: gradient (cnn).",
        "No difference found: occlusion (cnn).",
    ]
    assert topic.answers == {
        "reliability": "On the run's own images, judges compare the methods by masks of equal area. Better than tis: "
        "gradient (cnn). Worse than tis: random (cnn)."
    }
    last = [row | {"rank": {1: 4, 4: 1}.get(row["rank"], row["rank"])} for row in rows]  # random first, gradient last
    assert (
        section(last)
        .answers["reliability"]
        .endswith("Behind random positions in rank, which is not tested: every method with cnn.")
    )
    assert len(topic.findings) == 3
    of = {(row["curve_axis"], row["method"]): row["auc"] for row in rows if row["judge"] is None}
    lead = {axis: of[axis, "random"] - of[axis, "gradient"] for axis in ("masked_fraction", "masked_brightness")}
    assert (
        topic.findings[2]
        .details[-1]
        .startswith(
            "Lead of the first method over random positions, mean over extractors: "
            f"{lead['masked_brightness']:.3f} over the hidden brightness, {lead['masked_fraction']:.3f} over the masked"
        )
    )
    (_, _, together), (_, _, each) = topic.tables
    assert together.rows[0][1].text == "gradient"
    assert len(together.rows) == 4 and len(each.rows) == 8
    assert all(len(row) == len(table.columns) for table in (together, each) for row in table.rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["lime"]}, r"methods.0 = 'lime': attribution 'lime': allowed: tis, .*, or module:Attribute"),
        ({"methods": ["random", "random"]}, "methods = .*should have every value once"),
        ({"methods": []}, r"methods = \[\]: "),
        ({"images_per_class": 5}, "images_per_class = 5: at most data.per_class.test = 4"),
        ({"steps": 20}, r"steps: unknown key; write importance: \{steps: ...\}; allowed here: "),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    config = {
        "run": "r",
        "generator": {"weights": "digits"},
        "data": {"classes": [0, 1], "per_class": {"train": 4, "validation": 4, "test": 4}},
        "extractors": {"cnn": {"network": "cnn"}},
        "codebook_search": {"region": {"top": 0, "left": 0}, "pairs": {0: 1}, "images_per_class": 1},
        "concept_tokens": {"top_n": [1]},
        "judges": {"vit": JUDGE},
        "evaluation": {"accuracy": {"k": [1]}, "image_level": {"n": [1]}, "concept_level": {"top_n": [1]}},
    }
    parse_config(config | {"studies": {"attributions": {"images_per_class": 4}}})
    with pytest.raises(InputError, match=rf"^config: studies.attributions.{message}"):
        parse_config(config | {"studies": {"attributions": settings}})


def test_the_run_judges_and_ranks_them_for_every_extractor(controlled_run):
    results = controlled_run / "results" / "tiny"
    extractors, judges, methods = ["cnn", "resnet", "transformer"], ["resnet", "vit"], {"tis", *METHODS}
    table = read_table(results / "metrics" / "attributions.parquet")
    rows = pd.DataFrame(claims(table.to_pylist()))
    assert {row["training"] for row in table.to_pylist() if row["extractor"] == "cnn"} == {0, 1, None}
    for extractor in extractors:
        scores = read_table(results / "studies" / "attributions" / extractor / "0.parquet").to_pandas()
        assert scores.groupby("method").label.value_counts().eq(2).all()
        assert set(scores.label) == {1, 2, 7}
        for judge in [*judges, None]:
            part = rows[(rows.extractor == extractor) & (rows.judge.isna() if judge is None else rows.judge == judge)]
            for axis, group in part.groupby("curve_axis"):
                assert set(group.method) == methods, axis
                assert (group.samples == 6).all()
                assert group.auc.is_monotonic_increasing
        judged_rows = read_table(
            results / "studies" / "attributions" / "judged" / extractor / "0" / "vit.parquet"
        ).to_pandas()
        assert len(judged_rows) == 6 * (7 * 2 + 1)
    page = (controlled_run / "results" / "tiny" / "report.html").read_text()
    assert "Other attributions, judged the same way" in page

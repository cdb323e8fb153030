"""Evaluation (METHOD.md, section 6): masking against a loop over pixels, metrics against means taken by hand."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import stats

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.decoded import decode_images
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.evaluate import intervals
from cortex.evaluate.accuracy import label_ranks, rank_by_judge
from cortex.evaluate.codebook_level import best_steps, edited_grids
from cortex.evaluate.concept_level import judge_concepts
from cortex.evaluate.image_level import METHODS, image_masks, judge_images
from cortex.evaluate.masking import brightness, code_ranks, judge_masks, paint_black
from cortex.evaluate.metrics import accuracy_at, mean_by
from cortex.explain.concept_tokens import FREQUENCY_SCHEMA, SCHEMA
from cortex.explain.importance import schema
from cortex.judges.judge import Judge, load_judge
from cortex.judges.networks import ResNet, ViT

CODES = 6
CPU = torch.device("cpu")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def painted_by_hand(image, grid, codes):
    """The image with every 4×4 patch whose token is in ``codes`` black, pixel by pixel."""
    painted = image.copy()
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            if grid[y // 4][x // 4] in codes:
                painted[y, x] = 0
    return painted


def test_masking_is_a_loop_over_pixels(rng):
    grids = rng.integers(0, CODES, (5, 8, 8))
    importance = rng.normal(size=(5, 64))
    images = rng.integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    bright = brightness(images, (8, 8))
    masks = image_masks(grids.reshape(5, 64), importance, rng.random((5, 64)), bright, [1, 2, 3], CODES)
    for which, n in enumerate([1, 2, 3]):
        painted = paint_black(torch.from_numpy(images), torch.from_numpy(masks[0, which]), (8, 8))
        for index in range(5):
            top = sorted(range(64), key=lambda position: -importance[index, position])[:n]
            codes = {grids[index].ravel()[position] for position in top}
            assert np.array_equal(painted[index], painted_by_hand(images[index], grids[index], codes))


def test_random_baselines(rng):
    grids = rng.integers(0, CODES, (200, 64))
    random = rng.random((200, 64))
    bright = rng.dirichlet(np.full(64, 0.1), 200)
    masks = image_masks(grids, rng.normal(size=(200, 64)), random, bright, [1, 3], CODES)
    important, at_random, same_area, same_brightness = masks
    for which, n in enumerate([1, 3]):
        for image in range(200):
            positions = np.argsort(-random[image])[:n]
            assert np.array_equal(at_random[which, image], np.isin(grids[image], grids[image][positions]))
            # Positions are added in random order; no number of them hides an amount closer to importance's.
            order = np.argsort(-random[image])
            count = same_brightness[which, image].sum()
            assert set(np.flatnonzero(same_brightness[which, image])) == set(order[:count])
            target = bright[image][important[which, image]].sum()
            misses = [abs(bright[image][order[:k]].sum() - target) for k in range(65)]
            assert misses[count] == pytest.approx(min(misses), abs=1e-12)
    assert np.array_equal(same_area.sum(2), important.sum(2)), "the area is that of importance"
    # Where the area falls is uniform: no position is masked much more often than another.
    share = same_area[0].mean(0)
    expected = important[0].mean()
    assert np.abs(share - expected).max() < 5 * np.sqrt(expected * (1 - expected) / 200)


def test_code_ranks_by_hand():
    assert code_ranks(np.array([[4, 2, 4, 1]]), np.array([[3, 1, 0, 2]]), CODES).tolist() == [[0, 1, 0, 2]]


class MeanJudge(torch.nn.Module):
    """Logits that a person can compute: the mean of every colour channel."""

    def forward(self, images):
        return images.mean((2, 3))


def test_verdict_by_hand(rng):
    images = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.uint8)
    labels, masks = np.array([0, 2, 1]), np.zeros((2, 3, 4), bool)
    masks[1, :, 1] = True  # the top right quarter
    verdict = judge_masks(Judge(MeanJudge(), CPU), images, labels, masks, (2, 2), batch=2)
    for image, label in enumerate(labels):
        shown = images[image].astype(float) / 127.5 - 1
        before = shown.mean((0, 1))
        shown[:4, 4:] = -1
        after = shown.mean((0, 1))
        probability = np.exp(after[label]) / np.exp(after).sum()
        unmasked = np.exp(before[label]) / np.exp(before).sum()
        assert verdict.logit[1, image] == pytest.approx(after[label], abs=1e-5)
        assert verdict.logit_change[1, image] == pytest.approx(after[label] - before[label], abs=1e-5)
        assert verdict.probability[1, image] == pytest.approx(probability, abs=1e-5)
        assert verdict.probability_change[1, image] == pytest.approx(probability - unmasked, abs=1e-5)
    assert np.allclose(verdict.probability_change[0], 0)
    assert verdict.masked_fraction.tolist() == [[0, 0, 0], [0.25, 0.25, 0.25]]
    corner = images[:, :4, 4:].sum((1, 2, 3)) / images.sum((1, 2, 3))
    np.testing.assert_allclose(verdict.masked_brightness, [[0, 0, 0], corner], rtol=1e-6)


def test_black_on_black_hides_nothing():
    images = np.zeros((2, 8, 8, 3), np.uint8)
    images[1, 5, 6] = (10, 20, 30)  # in the last of four positions
    assert brightness(images, (2, 2)).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("network", [ResNet, ViT])
def test_a_judge_is_a_plain_classifier(network, rng, tmp_path):
    torch.manual_seed(0)
    model = network().eval()
    write_weights(tmp_path / "judge.safetensors", model.state_dict(), {"judge": network.__name__.lower()})
    images = rng.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    scaled = torch.from_numpy(images.astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = model(scaled)
    logits = load_judge(tmp_path / "judge.safetensors", CPU).logits(torch.from_numpy(images))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    write_weights(tmp_path / "other.safetensors", model.state_dict(), {})
    with pytest.raises(InputError, match=r"other.safetensors: not a judge's weights"):
        load_judge(tmp_path / "other.safetensors", CPU)


@pytest.fixture
def run(tmp_path, rng):
    """A test shard with its importance file, token lists and a judge."""
    samples = [
        Sample(
            f"test-{label:04d}-{index:06d}",
            label,
            rng.integers(0, CODES, (8, 8)).astype(np.uint16),
            rng.integers(0, 256, (32, 32, 3)).astype(np.uint8),
        )
        for index in range(3)
        for label in (1, 4)
    ]
    write_shard(tmp_path / "000000.tar", samples)
    decode_images(tmp_path / "000000.npy", tmp_path / "000000.tar")
    scores = rng.normal(size=(6, 64)).astype(np.float32)
    rows = [
        {"key": sample.key, "label": sample.label, "predicted": 0, "importance": score.tolist()}
        for sample, score in zip(samples, scores, strict=True)
    ]
    write_table(tmp_path / "importance.parquet", pa.Table.from_pylist(rows, schema(64)))
    torch.manual_seed(0)
    write_weights(tmp_path / "judge.safetensors", ResNet().state_dict(), {"judge": "resnet"})
    return tmp_path, samples, scores


def label_probability(judge, image, label):
    return judge.logits(torch.from_numpy(image)[None]).softmax(1)[0, label].item()


def test_image_level_rows_are_those_of_single_images(run):
    folder, samples, scores = run
    inputs = [folder / name for name in ("000000.tar", "000000.npy", "importance.parquet", "judge.safetensors")]
    judge_images(folder / "rows.parquet", *inputs, codes=CODES, n=[1, 2], batch=4, device="cpu")
    table = read_table(folder / "rows.parquet")
    judge = load_judge(folder / "judge.safetensors", CPU)
    rows = table.to_pylist()
    assert len(rows) == 6 * 4 * 2
    assert {(row["method"], row["n"]) for row in rows} == {(method, n) for method in METHODS for n in (1, 2)}
    by_key = {sample.key: (sample, score) for sample, score in zip(samples, scores, strict=True)}
    for row in rows:
        sample, score = by_key[row["key"]]
        assert row["label"] == sample.label
        if row["method"] != "importance":
            continue
        codes = {sample.grid.ravel()[position] for position in np.argsort(-score)[: row["n"]]}
        painted = painted_by_hand(sample.image, sample.grid, codes)
        before = label_probability(judge, sample.image, sample.label)
        after = label_probability(judge, painted, sample.label)
        assert row["probability"] == pytest.approx(after, abs=1e-5)
        assert row["probability_change"] == pytest.approx(after - before, abs=1e-5)
        assert row["masked_fraction"] == pytest.approx(np.isin(sample.grid, list(codes)).mean(), abs=1e-6)


def test_image_level_does_not_depend_on_the_batch(run):
    folder, *_ = run
    inputs = [folder / name for name in ("000000.tar", "000000.npy", "importance.parquet", "judge.safetensors")]
    columns = []
    for batch in (1, 6):
        judge_images(folder / "rows.parquet", *inputs, codes=CODES, n=[3], batch=batch, device="cpu")
        columns.append(read_table(folder / "rows.parquet")["probability"].to_numpy())
    np.testing.assert_allclose(*columns, rtol=1e-4)


def test_concept_level_masks_the_labels_own_tokens(run):
    folder, samples, _ = run
    chosen = {(1, 5): [0, 2], (4, 5): [3, 1], (1, None): [4, 5], (4, None): [5, 0]}
    rows = [
        {"label": label, "top_n": n, "rank": rank, "token": token, "count": 9 - rank}
        for (label, n), tokens in chosen.items()
        for rank, token in enumerate(tokens)
    ]
    important = [row for row in rows if row["top_n"]]
    frequent = [{k: v for k, v in row.items() if k != "top_n"} for row in rows if not row["top_n"]]
    write_table(folder / "tokens.parquet", pa.Table.from_pylist(important, SCHEMA))
    write_table(folder / "frequency.parquet", pa.Table.from_pylist(frequent, FREQUENCY_SCHEMA))
    files = ("000000.tar", "000000.npy", "tokens.parquet", "frequency.parquet", "judge.safetensors")
    inputs = [folder / name for name in files]
    judge = load_judge(folder / "judge.safetensors", CPU)
    by_key = {sample.key: sample for sample in samples}
    for keep in (1, 2):
        judge_concepts(folder / "rows.parquet", *inputs, codes=CODES, top_n=[5], keep=keep, device="cpu")
        table = read_table(folder / "rows.parquet").to_pylist()
        assert len(table) == 6 * 2
        for row in table:
            sample = by_key[row["key"]]
            assert (row["top_n"] is None) == (row["method"] == "frequency")
            painted = painted_by_hand(sample.image, sample.grid, chosen[sample.label, row["top_n"]][:keep])
            expected = label_probability(judge, painted, sample.label)
            assert row["probability"] == pytest.approx(expected, abs=1e-5)
            assert row["tokens"] == keep
    with pytest.raises(InputError, match=r"tokens.parquet: no tokens for top_n = \[7\]"):
        judge_concepts(folder / "rows.parquet", *inputs, codes=CODES, top_n=[5, 7], device="cpu")


def test_label_ranks_by_hand():
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5], [0.3, 0.2, 0.1]])
    assert label_ranks(logits, torch.tensor([1, 0, 2])).tolist() == [0, 2, 2]
    assert label_ranks(torch.zeros(2, 3), torch.tensor([1, 0])).tolist() == [2, 2], "a tie is no recognition"


def test_labels_are_ranked_by_a_judge(run):
    folder, samples, _ = run
    shards, images = [folder / "000000.tar"], [folder / "000000.npy"]
    rank_by_judge(folder / "rows.parquet", shards, images, folder / "judge.safetensors", batch=4, device="cpu")
    judge = load_judge(folder / "judge.safetensors", CPU)
    for row, sample in zip(read_table(folder / "rows.parquet").to_pylist(), samples, strict=True):
        logits = judge.logits(torch.from_numpy(sample.image)[None])[0].tolist()
        order = sorted(range(10), key=lambda label: -logits[label])
        assert (row["key"], row["label"]) == (sample.key, sample.label)
        assert (row["predicted"], row["rank"]) == (order[0], order.index(sample.label))


def test_accuracy_by_hand(tmp_path):
    for name, rank in (("a", [0, 1, 0, 3]), ("b", [0, 0])):
        split = ["test"] * len(rank)
        write_table(tmp_path / f"{name}.parquet", pa.table({"split": split, "rank": rank}))
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    accuracy_at(tmp_path / "accuracy.parquet", files, of="extractor", names=["cnn", "resnet"], k=[1, 2])
    # Of four resampled images, none is right in 1 of 16 resamples, so 0 and 1 are in a 95 % interval about a half.
    assert [tuple(row.values()) for row in read_table(tmp_path / "accuracy.parquet").to_pylist()] == [
        ("cnn", "test", 1, 0.5, 0.0, 1.0, 4),
        ("cnn", "test", 2, 0.75, 0.25, 1.0, 4),
        ("resnet", "test", 1, 1.0, 1.0, 1.0, 2),
        ("resnet", "test", 2, 1.0, 1.0, 1.0, 2),
    ]


def test_means_are_over_images_not_over_shards(tmp_path):
    files = []
    for shard, values in enumerate([[1.0, 2.0, 3.0], [10.0]]):
        files.append(tmp_path / f"{shard}.parquet")
        columns = {"method": ["importance"] * len(values), "n": [5] * len(values), "probability": values}
        write_table(files[-1], pa.table(columns))
    other = tmp_path / "other.parquet"
    write_table(other, pa.table({"method": ["importance"], "n": [5], "probability": [0.25]}))
    mean_by(
        tmp_path / "mean.parquet",
        [*files, other],
        extractors=["cnn", "cnn", "cnn"],
        judges=["vit", "vit", "resnet"],
        by=["method", "n"],
        measures=["probability"],
    )
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    alone = {"probability_low": 0.25, "probability_high": 0.25}  # one image has no spread
    assert 1 <= found[0].pop("probability_low") < 2 and 5 < found[0].pop("probability_high") <= 10
    assert found == [
        {"extractor": "cnn", "judge": "vit", "method": "importance", "n": 5, "samples": 4, "probability": 4.0},
        {"extractor": "cnn", "judge": "resnet", "method": "importance", "n": 5, "samples": 1, "probability": 0.25}
        | alone,
    ]


@pytest.mark.parametrize("at_once", [1, 700, 10**9])
def test_intervals_are_those_of_scipy_on_the_same_resamples(rng, monkeypatch, at_once):
    monkeypatch.setattr(intervals, "AT_ONCE", at_once)
    values = np.concatenate([rng.normal(size=(3, 61)), rng.random((2, 61)) < 0.2])
    low, high = intervals.mean_intervals(values, 500, seed=7)
    for row in range(5):
        expected = stats.bootstrap(
            (values[row],), np.mean, n_resamples=500, method="percentile", rng=np.random.default_rng(7)
        ).confidence_interval
        assert (low[row], high[row]) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_interval_of_values_that_are_all_alike_is_their_mean():
    values = np.array([[0.1] * 7, [1 / 3] * 7], np.float32)
    for side in intervals.mean_intervals(values, 50, seed=0):
        assert side.tolist() == values.mean(1, dtype=np.float64).tolist()


def test_every_mean_has_the_interval_of_its_own_rows(tmp_path, rng):
    """Settings of unlike numbers of images, one of them null, in two files: each as if it had been alone."""
    rows = [
        {"method": method, "top_n": n, "a": value, "b": 10 * value}
        for method, n, images in (("importance", 1, 9), ("importance", 5, 9), ("frequency", None, 4))
        for value in rng.normal(size=images)
    ]
    rows = [rows[place] for place in rng.permutation(len(rows))]
    files = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    for path, part in zip(files, (rows[:10], rows[10:]), strict=True):
        write_table(path, pa.Table.from_pylist(part))
    named = {"extractors": ["cnn"] * 2, "judges": ["vit"] * 2, "by": ["method", "top_n"], "measures": ["a", "b"]}
    mean_by(tmp_path / "mean.parquet", files, **named, resamples=300, seed=5)
    found = read_table(tmp_path / "mean.parquet").to_pylist()
    assert [row["samples"] for row in sorted(found, key=lambda row: row["top_n"] or 0)] == [4, 9, 9]
    for row in found:
        of_setting = [r for r in rows if (r["method"], r["top_n"]) == (row["method"], row["top_n"])]
        for measure in ("a", "b"):
            values = np.array([[r[measure] for r in of_setting]])
            (low,), (high,) = intervals.mean_intervals(values, 300, seed=5)
            assert row[measure] == pytest.approx(values.mean())
            assert (row[f"{measure}_low"], row[f"{measure}_high"]) == pytest.approx((low, high))
            assert low < row[measure] < high


def test_the_judges_best_step_is_kept():
    keys, methods = ["a", "b", "a", "b", "a"], ["x", "x", "x", "x", "y"]
    assert best_steps(keys, methods, np.array([0.1, 0.9, 0.5, 0.9, 0.2])) == [2, 1, 4]


def test_only_the_region_is_edited(rng):
    grids = rng.integers(0, 6, (2, 4, 4)).astype(np.uint16)
    edited = edited_grids(grids, np.array([[5, 6], [0, 15]]), np.array([[9, 8], [7, 6]]))
    assert edited[0].ravel()[[5, 6]].tolist() == [9, 8]
    assert edited[1].ravel()[[0, 15]].tolist() == [7, 6]
    assert (edited != grids).sum() <= 4

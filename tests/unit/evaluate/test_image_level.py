"""The image level (METHOD.md, section 6): masking against a loop over pixels, rows against single images."""

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.layout import Layout
from cortex.evaluate.image_level import METHODS, image_masks, judge_images
from cortex.evaluate.masking import brightness, paint_black
from cortex.judges.judge import load_judge
from tests.unit.evaluate.by_hand import CODES, CPU, label_probability, painted_by_hand

LAYOUT = Layout((8, 8))


def test_masking_is_a_loop_over_pixels(rng):
    grids = rng.integers(0, CODES, (5, 8, 8))
    importance = rng.normal(size=(5, 64))
    images = rng.integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    bright = brightness(images, LAYOUT)
    masks = image_masks(
        grids.reshape(5, 64), importance, rng.random((5, 64)), bright, [1, 2, 3], CODES, LAYOUT.scale_of
    )
    for which, n in enumerate([1, 2, 3]):
        painted = paint_black(torch.from_numpy(images), torch.from_numpy(masks[0, which]), LAYOUT)
        for index in range(5):
            top = sorted(range(64), key=lambda position: -importance[index, position])[:n]
            codes = {grids[index].ravel()[position] for position in top}
            assert np.array_equal(painted[index], painted_by_hand(images[index], grids[index], codes))


def test_random_baselines(rng):
    grids = rng.integers(0, CODES, (200, 64))
    random = rng.random((200, 64))
    bright = rng.dirichlet(np.full(64, 0.1), 200)
    masks = image_masks(grids, rng.normal(size=(200, 64)), random, bright, [1, 3], CODES, LAYOUT.scale_of)
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


def test_image_level_rows_are_those_of_single_images(run):
    folder, samples, scores = run
    inputs = [folder / name for name in ("importance.parquet", "000000.npy", "judge.safetensors")]
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
    inputs = [folder / name for name in ("importance.parquet", "000000.npy", "judge.safetensors")]
    columns = []
    for batch in (1, 6):
        judge_images(folder / "rows.parquet", *inputs, codes=CODES, n=[3], batch=batch, device="cpu")
        columns.append(read_table(folder / "rows.parquet")["probability"].to_numpy())
    np.testing.assert_allclose(*columns, rtol=1e-4)


def test_images_of_another_shard_and_tokens_out_of_the_codebook_are_refused(run):
    folder, *_ = run
    scores, images, judge = (folder / name for name in ("importance.parquet", "000000.npy", "judge.safetensors"))
    options = {"n": [1], "batch": 4, "device": "cpu"}
    np.save(folder / "other.npy", np.load(images)[:5])
    with pytest.raises(InputError, match=r"other.npy: 5 images; .*importance.parquet has 6"):
        judge_images(folder / "rows.parquet", scores, folder / "other.npy", judge, codes=CODES, **options)
    with pytest.raises(InputError, match=r"importance.parquet: 'test-.*': token 5; allowed: 0 to 4"):
        judge_images(folder / "rows.parquet", scores, images, judge, codes=5, **options)
    assert not (folder / "rows.parquet").exists()


def test_random_masks_have_as_many_tokens_of_every_scale(rng):
    scale_of = np.repeat([0, 1], [16, 25])
    grids = rng.integers(0, 40, (6, 41)) + 40 * scale_of
    importance, bright = rng.normal(size=(6, 41)), np.full((6, 41), 1 / 41)
    masks = image_masks(grids, importance, rng.random((6, 41)), bright, [3, 9], 80, scale_of)
    for which in (0, 1):
        of_scale = scale_of == which
        counts = masks[..., of_scale].sum(-1)
        assert np.array_equal(counts[0], counts[2]) and counts[0].max() > 0
    assert not np.array_equal(masks[0], masks[2])

"""The causes of a class (METHOD.md, section 12), against loops over pixels and images; effects by hand."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.tokens import Tokens, read_tokens, write_tokens
from cortex.dictionary import samples as sampling
from cortex.dictionary.effects import effects, group_means
from cortex.dictionary.masks import code_masks, mask_codes
from cortex.dictionary.pairs import SCHEMA
from cortex.dictionary.placements import _another, place_codes, placed_grids
from cortex.dictionary.samples import sample_images
from cortex.generators.load import load_generator
from cortex.judges.judge import load_judge
from cortex.judges.networks import ResNet
from tests.unit.evaluate.by_hand import CPU, label_probability

CODES = 24  # of the conftest's generator: grids of 4×4, images of 8×8
PAIRS = [(1, 3), (4, 5), (1, 5), (4, 0)]
MOST = 3  # images of a pair


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two shards of test images of the classes 1, 4 and 6, measured five at a time; chosen pairs; a judge."""
    monkeypatch.setattr(sampling, "AT_ONCE", 5)
    for module in ("masks", "placements"):
        monkeypatch.setattr(f"cortex.dictionary.{module}.AT_ONCE", 5)
    rng = np.random.default_rng(0)
    labels, tokens = np.arange(15) % 3, rng.integers(0, 10, (15, 16)).astype(np.uint16)
    labels = np.array([1, 4, 6])[labels]
    images = rng.integers(0, 256, (15, 8, 8, 3)).astype(np.uint8)
    for shard, rows in enumerate((slice(0, 7), slice(7, 15))):
        keys = [f"test-{row}" for row in range(15)][rows]
        write_tokens(tmp_path / f"{shard}.parquet", Tokens(keys, labels[rows], tokens[rows], (4, 4)))
        np.save(tmp_path / f"{shard}.npy", images[rows])
    pairs = [{"label": label, "token": token} for label, token in PAIRS]
    write_table(tmp_path / "pairs.parquet", pa.Table.from_pylist(pairs, SCHEMA))
    torch.manual_seed(0)
    write_weights(tmp_path / "judge.safetensors", ResNet().state_dict(), {"judge": "resnet"})
    tables = [tmp_path / f"{shard}.parquet" for shard in (0, 1)]
    return tmp_path, tables, images


def test_samples_are_images_of_the_class_that_hold_the_code(files):
    folder, tables, _ = files
    images = read_tokens(tables)
    found = sample_images(images, folder / "pairs.parquet", MOST, CODES, seed=3)
    taken = Counter()
    for row, label, token in zip(found.rows, found.labels.tolist(), found.tokens.tolist(), strict=True):
        assert images.labels[row] == label and token in images.tokens[row]
        taken[label, token] += 1
    for label, token in PAIRS:
        holding = (images.tokens[images.labels == label] == token).any(1).sum()
        assert taken.pop((label, token), 0) == min(holding, 3)
    assert not taken
    assert len(set(zip(found.rows.tolist(), found.tokens.tolist(), strict=True))) == len(found)
    again = sample_images(images, folder / "pairs.parquet", MOST, CODES, seed=3)
    other = sample_images(images, folder / "pairs.parquet", MOST, CODES, seed=4)
    assert (again.rows == found.rows).all() and (again.randoms(16) == found.randoms(16)).all()
    assert (other.randoms(16) != found.randoms(16)).any()


def test_masks_are_those_of_a_loop_over_pixels(files):
    folder, tables, images = files
    arguments = tables, [folder / "0.npy", folder / "1.npy"], folder / "pairs.parquet", folder / "judge.safetensors"
    mask_codes(folder / "rows.parquet", *arguments, images_per_pair=MOST, codes=CODES, batch=4, device="cpu")
    rows, judge = read_table(folder / "rows.parquet").to_pylist(), load_judge(folder / "judge.safetensors", CPU)
    tokens = read_tokens(tables)
    samples = sample_images(tokens, folder / "pairs.parquet", MOST, CODES, 0)
    by_chance = dict(
        zip(
            zip(samples.rows.tolist(), samples.labels.tolist(), samples.tokens.tolist(), strict=True),
            np.concatenate([code_masks(tokens, samples.part(at))[1] for at in range(0, len(samples), 5)]),
            strict=True,
        )
    )
    area, moved = {}, 0
    for row in rows:
        place = tokens.keys.index(row["key"])
        painted, grid = images[place].copy(), tokens.grids[place]
        hidden = grid == row["token"]
        if row["method"] == "random":
            chance = by_chance[place, row["label"], row["token"]].reshape(4, 4)
            moved += not np.array_equal(chance, hidden)
            hidden = chance
        for y in range(8):
            for x in range(8):
                if hidden[y // 2][x // 2]:
                    painted[y, x] = 0
        after, before = (label_probability(judge, each, row["label"]) for each in (painted, images[place]))
        assert row["probability_change"] == pytest.approx(after - before, abs=1e-5)
        assert row["masked_fraction"] == pytest.approx((grid == row["token"]).mean())
        area.setdefault((row["key"], row["label"], row["token"]), []).append(row["masked_fraction"])
    assert len(area) == len(rows) / 2 >= 8
    assert all(len(each) == 2 and each[0] == each[1] for each in area.values()), "the random masks are as large"
    assert moved > len(area) / 2, "random masks are other positions than the code's"


def test_another_item_is_of_any_other_group():
    groups, avoided = np.array([2, 0, 2, 1, 2, 0]), np.repeat([0, 1, 2, 3], 400)
    uniform = np.tile(np.arange(400) / 400, 4)
    places = _another(uniform, np.bincount(groups, minlength=4), avoided)
    found = np.argsort(groups, kind="stable")[places].reshape(4, 400)
    for row, others in enumerate([[0, 2, 3, 4], [0, 1, 2, 4, 5], [1, 3, 5], [0, 1, 2, 3, 4, 5]]):
        counts = Counter(found[row].tolist())
        assert sorted(counts) == others
        assert max(counts.values()) - min(counts.values()) <= 1


def test_codes_are_placed_where_they_stand_in_their_own_image(files):
    folder, tables, _ = files
    images = read_tokens(tables)
    found = sample_images(images, folder / "pairs.parquet", MOST, CODES, seed=3)
    changed, grids, replaced = placed_grids(images, found, np.bincount(images.tokens.ravel(), minlength=CODES))
    assert len(set(changed.tolist())) > 3
    for place, (row, label, token) in enumerate(zip(found.rows, found.labels, found.tokens, strict=True)):
        assert images.labels[changed[place]] != label
        others = set()
        for position in range(16):
            (code, random), before = grids[:, place, position].tolist(), images.tokens[changed[place], position]
            holds = images.tokens[row, position] == token
            assert replaced[place, position] == holds
            if holds:
                assert code == token
                others.add(random)
            else:
                assert code == random == before
        assert len(others) == 1 and token not in others and others <= set(images.tokens.ravel().tolist())


def test_a_judge_reads_every_image_before_and_after(files, generator_weights):
    folder, tables, _ = files
    arguments = tables, folder / "pairs.parquet", folder / "judge.safetensors"
    options = {"images_per_pair": MOST, "generator": generator_weights, "batch": 4, "seed": 3, "device": "cpu"}
    place_codes(folder / "rows.parquet", *arguments, **options)
    rows = read_table(folder / "rows.parquet").to_pylist()
    model, judge = load_generator(generator_weights), load_judge(folder / "judge.safetensors", CPU)
    images = read_tokens(tables)
    samples = sample_images(images, folder / "pairs.parquet", MOST, CODES, seed=3)
    changed, grids, replaced = placed_grids(images, samples, np.bincount(images.tokens.ravel(), minlength=CODES))
    assert len(rows) == 2 * len(samples) > 2 * 5
    found = {method: [row for row in rows if row["method"] == method] for method in ("code", "random")}
    for place, (label, token) in enumerate(zip(samples.labels.tolist(), samples.tokens.tolist(), strict=True)):
        three = np.concatenate([images.tokens[changed[place]][None], grids[:, place]]).astype(np.int64)
        pictures = model.decode(torch.from_numpy(three.reshape(3, 4, 4)))
        before, *after = (label_probability(judge, picture.numpy(), label) for picture in pictures)
        for method, probability in zip(("code", "random"), after, strict=True):
            row = found[method][place]
            assert (row["key"], row["label"], row["token"]) == (images.keys[changed[place]], label, token)
            assert row["source"] == images.labels[changed[place]] != label
            assert row["replaced_fraction"] == pytest.approx(replaced[place].mean())
            assert row["probability"] == pytest.approx(probability, abs=1e-4)
            assert row["probability_change"] == pytest.approx(probability - before, abs=1e-4)


def test_images_of_one_class_are_refused(files, generator_weights):
    folder, tables, _ = files
    images = read_tokens(tables[0])
    write_tokens(tables[0], images.take(np.flatnonzero(images.labels == 4)))
    with pytest.raises(InputError, match=r"images of one class; a code is put into those of another"):
        place_codes(
            folder / "rows.parquet", tables[:1], folder / "pairs.parquet", folder / "judge.safetensors",
            images_per_pair=MOST, generator=generator_weights, batch=4,
        )  # fmt: skip


def test_effects_by_hand(tmp_path):
    """Two judges; class 1 and code 3 on three images, class 4 and code 3 on one."""
    keys, labels = ["a", "b", "c", "b"], [1, 1, 1, 4]
    changes = {"one": [0.1, 0.2, 0.3, -0.5, 0.0, 0.0, 0.2, -0.1], "two": [0.3, 0.4, 0.5, -0.7, 0.0, 0.2, 0.2, -0.1]}
    paths = []
    for name, values in changes.items():
        columns = {"key": keys * 2, "label": labels * 2, "token": [3] * 8, "method": ["code"] * 4 + ["random"] * 4}
        paths.append(tmp_path / f"{name}.parquet")
        write_table(paths[-1], pa.table({**columns, "probability_change": values}))
    one, other = effects("masked", paths).to_pylist()
    # Means over judges: 0.2, 0.3, 0.4 by the code; 0, 0.1, 0.2 by the random mask. Standard deviation: 0.1.
    half = 4.302653 * 0.1 / np.sqrt(3)
    assert (one["label"], one["token"], one["masked_images"]) == (1, 3, 3)
    assert (one["masked"], one["masked_random"], one["masked_excess"]) == pytest.approx((0.3, 0.1, 0.2))
    assert (one["masked_low"], one["masked_high"]) == pytest.approx((0.3 - half, 0.3 + half), abs=1e-5)
    assert (one["masked_excess_low"], one["masked_excess_high"]) == pytest.approx((0.2, 0.2)), "as large in every image"
    assert (other["label"], other["masked_images"], other["masked"]) == (4, 1, pytest.approx(-0.6))
    assert (other["masked_low"], other["masked_high"]) == (None, None), "one image"
    write_table(paths[1], read_table(paths[1]).slice(0, 7))
    with pytest.raises(InputError, match=r"two.parquet: not of the same images and codes, .* as .*one.parquet"):
        effects("masked", paths)


def test_groups_of_unequal_size_have_their_own_means():
    rng = np.random.default_rng(0)
    sizes = [3, 1, 5, 3, 5, 2]
    values, starts = rng.normal(scale=0.1, size=sum(sizes)), np.cumsum([0, *sizes[:-1]])
    mean, low, high = group_means(values, starts)
    for place, part in enumerate(np.split(values, starts[1:])):
        assert mean[place] == pytest.approx(part.mean())
        alone = group_means(part, np.array([0]))
        assert (low[place], high[place]) == pytest.approx(tuple(alone[1:, 0]), nan_ok=True)
        assert np.isnan([low[place], high[place]]).all() if len(part) == 1 else low[place] < mean[place] < high[place]

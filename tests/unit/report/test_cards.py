"""Classes in pictures: the first of each, tokens with their numbers and patches, what their masks change."""

import base64
import dataclasses
import io

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cortex.core.errors import InputError
from cortex.data.shard_reader import Sample, read_shard
from cortex.data.tokens import read_tokens
from cortex.report.cards import Cards, first_examples
from cortex.report.patches import typical_patches
from cortex.report.results import LEVELS, RunFiles
from tests.unit.report.example import CLASSES, JUDGES, METHODS, TOP_N, TRAINED, save

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]  # the seventh class has no name


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def cards_of(run, **changes):
    files = RunFiles(run.folder, tuple(TRAINED), tuple(JUDGES), LEVELS, (), tuple(METHODS), 100)
    return Cards(dataclasses.replace(files, **changes), NAMES, TOP_N, run.files.shards[0])


@pytest.fixture(scope="module")
def cards(run):
    return cards_of(run)


def test_the_most_accurate_extractor_is_shown_averaged_over_its_trainings(cards):
    assert cards.extractor == "resnet/average" and cards.averaged
    assert cards.trainings == ["resnet/0", "resnet/1", "resnet/2"]
    assert cards.shown == ("contrast", TOP_N)


def test_every_class_has_its_first_test_image_under_its_importance(cards, run):
    shards = [read_tokens(path) for path in run.files.tokens]
    labels = np.concatenate([shard.labels for shard in shards])
    images = np.concatenate([np.load(path) for path in run.files.images])
    scores = np.concatenate(
        [np.stack(pq.read_table(path)["importance"].to_numpy()) for path in run.files.scores["tis", "resnet/average"]]
    )
    for card in cards.all:
        row = int(np.flatnonzero(labels == card.label)[0])
        np.testing.assert_array_equal(pixels(card.example.image), images[row])
        assert card.example.size == (8, 8)
        highest = sorted(range(16), key=lambda place: -scores[row, place])[:5]
        assert card.example.boxes == [(2 * (place % 4), 2 * (place // 4), 2, 2) for place in highest]
        heat = pixels(card.example.heat).astype(int)
        top, low = highest[0], int(np.argmin(scores[row]))
        # Amber has no blue: the tint of the highest position takes it away, the lowest position stays grey.
        assert heat[2 * (top // 4), 2 * (top % 4), 0] > heat[2 * (top // 4), 2 * (top % 4), 2]
        assert len(set(heat[2 * (low // 4), 2 * (low % 4)])) == 1
    assert [card.name for card in cards.all] == [*NAMES, "class 6"]


def test_tokens_are_the_first_of_the_list_and_say_how_many_trainings_agree(cards):
    card = cards.all[2]
    # By contrast, every training has the tokens 1 to 4 plus the label, then 10 plus the label plus its number.
    assert [token.number for token in card.tokens[:4]] == [3, 4, 5, 6]
    assert [token.found_by for token in card.tokens] == [3, 3, 3, 3, 1]
    assert [token.frequent for token in card.tokens[:4]] == [True] * 4 and not card.tokens[4].frequent


def test_tokens_say_in_how_many_test_images_they_occur_and_what_else_they_mark(cards, run):
    images = [
        (label, set(grid.ravel().tolist()))
        for path in run.files.tokens
        for label, grid in zip(read_tokens(path).labels.tolist(), read_tokens(path).tokens, strict=True)
    ]
    for card in cards.all:
        own = [held for label, held in images if label == card.label]
        assert card.images == len(own) == 2
        for token in (*card.tokens, *(one for of in card.lists.values() for one in of)):
            assert token.images == sum(token.number in held for held in own)
    # Token 1 marks class 0, which is an ant, token 2 class 1.
    first, second = cards.all[:2]
    assert [(token.number, token.marks) for token in first.tokens[:3]] == [(1, None), (2, "bee"), (3, None)]
    assert [(token.kind, token.most, token.own) for token in first.tokens[:3]] == [
        ("marks a class", "ant", True),
        ("marks a class", "bee", False),
        ("background", None, True),
    ]
    assert {token.share for token in first.tokens} == {0.75, 0.0}
    assert [token.marks for token in second.lists["most frequent"][:3]] == ["ant", None, None]


def test_lists_of_every_method_and_extractor_stand_beside_the_most_frequent_tokens(cards):
    titles = list(cards.all[0].lists)
    assert titles[-1] == "most frequent" and len(titles) == 2 * 2 * 2 + 1
    assert {"cnn, contrast, tis", "resnet, count, gradient_input"} < set(titles)
    assert [token.number for token in cards.all[1].lists["most frequent"]] == [1, 2, 3, 4, 5, 6]


def test_changes_are_means_over_the_images_of_the_class(cards):
    assert cards.n == 2
    assert cards.all[0].masked == {"probability_change": pytest.approx(-0.4), "masked_fraction": pytest.approx(0.2)}
    assert cards.all[0].random["probability_change"] == pytest.approx(-0.12)
    assert cards.all[1].masked["probability_change"] == pytest.approx(-0.1)
    assert [card.judged for card in cards.all[:3]] == [(1, 1), (0.5, 0.5), (1, 1)]  # of 2 images


def test_an_image_that_is_read_as_another_class_says_so(cards, run):
    assert [card.misread for card in cards.all] == [{"bee": 3}, {}, *[{"bee": 3}] * 5]
    single = cards_of(run)
    object.__setattr__(single, "extractor", "resnet/0")
    assert [card.misread for card in single.all] == [{"bee": 1}, {}, *[{"bee": 1}] * 5]
    assert {token.found_by for token in single.all[0].tokens} == {1, 3}


def test_a_run_without_judges_or_images_has_tokens_alone(run):
    bare = dataclasses.replace(cards_of(run, judges=(), levels=()), shard=None)
    for card in bare.all:
        assert card.example is card.masked is card.random is card.judged is None
        assert [token.patch for token in card.tokens] == [""] * 5


def test_examples_are_found_in_the_first_shards(run):
    scores = run.files.scores["tis", "cnn/0"]
    first = read_tokens(scores[0]).labels.tolist()
    missing = [scores[0], scores[1].with_name("gone.parquet")]
    assert list(first_examples(missing, run.files.images, first[:1], [scores])) == first[:1]
    found = first_examples(scores, run.files.images, range(CLASSES), [scores, scores])
    assert len(found) == CLASSES and found[0].predicted == [1, 1]
    with pytest.raises(InputError, match="gone"):
        first_examples(missing, run.files.images, range(CLASSES), [scores])


def test_a_typical_patch_is_that_of_a_pixel_loop(run):
    samples = [sample for shard in run.files.shards for sample in read_shard(shard, images=True)]
    patches = typical_patches(lambda: iter(samples), [*range(24), 999])
    for token in range(24):
        held = [
            sample.image[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].astype(float)
            for sample in samples
            for y, x in zip(*np.nonzero(sample.grid == token), strict=True)
        ]
        assert bool(held) == (token in patches)
        if held:
            mean = np.mean(held, axis=0)
            best = min(held, key=lambda patch: float(((patch - mean) ** 2).sum()))
            np.testing.assert_array_equal(patches[token], best)
    assert 999 not in patches


def test_shards_without_images_have_no_patches():
    sample = Sample("a", 0, np.zeros((2, 2), np.uint16))
    assert typical_patches(lambda: [sample], [0]) == {}


def test_a_class_without_tokens_has_an_empty_list(run, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    for path in run.folder.iterdir():
        if path.name != "tokens":
            (folder / path.name).symlink_to(path)
    for path in (run.folder / "tokens").rglob("*.parquet"):
        rows = [row for row in pq.read_table(path).to_pylist() if (row["label"], row["list"]) != (3, "contrast")]
        save(folder / path.relative_to(run.folder), rows)
    files = RunFiles(folder, tuple(TRAINED), tuple(JUDGES), LEVELS, (), tuple(METHODS), 100)
    card = Cards(files, NAMES, TOP_N, run.files.shards[0]).all[3]
    assert card.tokens == [] and card.masked is not None


def test_patches_of_scales_are_the_boxes_of_their_tokens():
    """Scales of 1 × 1 and 2 × 2 tokens: quarters of one colour, and their mean."""
    colours = np.array([[10, 20, 30], [50, 60, 70], [90, 100, 110], [130, 140, 150]], np.uint8)
    image = colours.reshape(2, 2, 3).repeat(8, 0).repeat(8, 1)
    sample = Sample("a", 0, np.array([[3, 7, 8, 9, 7]], np.uint16), image)
    found = typical_patches(lambda: [sample], {3, 8, 9}, (1, 2))
    assert {token: patch.mean((0, 1)).tolist() for token, patch in found.items()} == {
        3: [70, 80, 90],
        8: [50, 60, 70],
        9: [90, 100, 110],
    }
    assert len({patch.shape for patch in found.values()}) == 1

"""Labelled pictures become shards: the pictures themselves, and the grids that the encoder gives them."""

import numpy as np
import pytest
import torch

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.weights import write_weights
from cortex.data.picture_sources import find_pictures
from cortex.data.settings import PicturePart, Shards
from cortex.data.shard_reader import read_shard
from cortex.data.tokenizing import chosen_rows, tokenize_pictures
from tests.pictures import png, write_folders
from tests.toy_generator import SPEC, ToyGenerator

TOY = "tests.toy_generator:FAMILY"
NAMES = ("ant", "bee", "cat")
PER_CLASS = (7, 5, 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of known tokens: file ``ant/0002.png`` shows the third grid. The folder, and the grids by file."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), PER_CLASS)
    grids = rng.integers(0, SPEC.codes, (len(labels), *SPEC.grid))
    images = ToyGenerator(torch.device("cpu")).decode(torch.from_numpy(grids)).numpy()
    pictures = zip([NAMES[label] for label in labels], images, strict=True)
    root = write_folders(tmp_path_factory.mktemp("pictures") / "all", pictures)
    files = [str(root / NAMES[label] / f"{number:04d}.png") for number, label in enumerate(labels)]
    return root, dict(zip(files, zip(grids, images, strict=True), strict=True))


def shards_of(output, images, *, shards=None, part=None, **options):
    tokenize_pictures(
        output,
        str(images),
        part=PicturePart(**(part or {})),
        shards=Shards(**(shards or {})),
        **({"family": TOY, "device": "cpu"} | options),
    )
    return [list(read_shard(path, images="any", codes=SPEC.codes)) for path in sorted(output.iterdir())]


def test_every_picture_has_the_tokens_it_shows(tmp_path, folder):
    root, known = folder
    (samples,) = shards_of(tmp_path / "train", root)
    assert len(samples) == sum(PER_CLASS)
    for sample in samples:
        grid, image = known[sample.info["picture"]]
        assert np.array_equal(sample.grid, grid) and np.array_equal(sample.image, image)
        assert sample.info["class_name"] == NAMES[sample.label] in sample.info["picture"]
    assert {sample.info["picture"] for sample in samples} == known.keys()


def test_samples_alternate_between_the_classes_as_drawn_ones_do(tmp_path, folder):
    shards = shards_of(tmp_path / "train", folder[0], shards={"shard_size": 4}, part={"per_class": 3})
    keys = [[sample.key for sample in shard] for shard in shards]
    assert keys[0] == ["train-0000-000000", "train-0001-000000", "train-0002-000000", "train-0000-000001"]
    assert [len(shard) for shard in keys] == [4, 4, 1] and keys[2] == ["train-0002-000002"]


def test_classes_are_matched_by_name(tmp_path, folder):
    names = ("eel", "cat", "bee", "ant")
    (samples,) = shards_of(tmp_path / "test", folder[0], classes=names, labels=(1, 3), part={"split": "test"})
    found = {(sample.label, sample.info["class_name"]) for sample in samples}
    assert found == {(1, "cat"), (3, "ant")} and len(samples) == 7 + 6


def test_one_source_is_divided_at_random_into_parts_that_share_nothing(tmp_path, folder):
    parts, first = [], 0
    for split, count in (("train", 2), ("validation", 1), ("test", 2)):
        part = {"split": split, "per_class": count, "first": first, "seed": 4}
        (samples,) = shards_of(tmp_path / split, folder[0], part=part)
        assert [len([s for s in samples if s.label == label]) for label in range(3)] == [count] * 3
        parts += [sample.info["picture"] for sample in samples]
        first += count
    assert len(set(parts)) == 15
    labels = find_pictures(str(folder[0])).labels
    orders = {tuple(chosen_rows(labels, [0, 1, 2], PicturePart(seed=seed), NAMES, "x")[0]) for seed in range(5)}
    assert len(orders) == 5, "every seed has its own"


def test_the_same_pictures_give_the_same_bytes(tmp_path, folder, generator_weights):
    contents = []
    threads = torch.get_num_threads()
    for run, count in enumerate((1, 2)):
        torch.set_num_threads(count)
        output = tmp_path / str(run)
        shards_of(output, folder[0], family="taming", generator=generator_weights, shards={"format": "jpeg"})
        contents.append((output / "000000.tar").read_bytes())
    torch.set_num_threads(threads)
    assert contents[0] == contents[1]


def test_pictures_need_not_be_kept(tmp_path, folder):
    (samples,) = shards_of(tmp_path / "train", folder[0], shards={"format": "none"})
    assert all(sample.image is None for sample in samples)
    assert np.array_equal(samples[0].grid, folder[1][samples[0].info["picture"]][0])


def test_the_command_takes_the_same_options(tmp_path, folder):
    options = ["--images", str(folder[0]), "--output", str(tmp_path / "out"), "--family", TOY, "--device", "cpu"]
    assert main(["tokenize", *options, "--per-class", "2", "--format", "webp", "--split", "validation"]) == 0
    samples = list(read_shard(tmp_path / "out" / "000000.tar", images=True))
    assert [sample.key for sample in samples[:2]] == ["validation-0000-000000", "validation-0001-000000"]
    assert len(samples) == 6


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"classes": ("ant", "bee", "cat", "bee")},
            "all: class 'bee': several classes have this name; it should be unique",
        ),
        ({"classes": ("ant", "bee")}, "all: unknown classes 'cat'; classes are matched by name, allowed: 'ant', 'bee'"),
        ({"part": {"per_class": 6}}, "all: class 'bee' has 5 pictures; 6 are asked for"),
        ({"part": {"per_class": 3, "first": 4}}, "all: class 'bee' has 5 pictures; 7 are asked for"),
        ({"part": {"first": 5}}, "all: class 'bee' has 5 pictures; 5 are asked for"),
        ({"classes": (*NAMES, "eel"), "labels": (3,)}, "all: class 'eel' has 0 pictures; 0 are asked for"),
    ],
)
def test_classes_that_do_not_fit_are_named(tmp_path, folder, options, told):
    with pytest.raises(InputError) as caught:
        shards_of(tmp_path / "train", folder[0], **options)
    assert str(caught.value).endswith(told)
    assert not list(tmp_path.iterdir())


def test_a_damaged_picture_leaves_no_shard(tmp_path):
    root = write_folders(tmp_path / "all", [("ant", np.zeros((8, 8, 3), np.uint8))] * 3)
    damaged = root / "ant" / "0001.png"
    damaged.write_bytes(png(np.zeros((64, 64, 3), np.uint8))[:-30])
    with pytest.raises(InputError, match=f"^{damaged}: not a whole image"):
        shards_of(tmp_path / "train", root)
    assert [path.name for path in tmp_path.iterdir()] == ["all"]


@pytest.mark.parametrize(("images", "output"), [("a", "a"), ("a/000003.tar", "a"), ("a.pictures", "a")])
def test_the_pictures_themselves_are_never_replaced(tmp_path, images, output):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to("a")
    for place in (output, "b" if output == images.partition("/")[0] else output):
        with pytest.raises(InputError, match="would replace these pictures"):
            shards_of(tmp_path / place, tmp_path / images)


def test_what_lies_in_the_way_of_the_stored_pictures_is_kept(tmp_path, folder):
    (tmp_path / "train.pictures").mkdir()
    (tmp_path / "train.pictures" / "mine.txt").write_text("not to be removed")
    assert shards_of(tmp_path / "train", folder[0])
    assert [path.name for path in (tmp_path / "train.pictures").iterdir()] == ["mine.txt"]


def test_a_generator_without_an_encoder_is_refused(tmp_path, folder):
    path = tmp_path / "codebook.safetensors"
    write_weights(path, {"codebook": torch.eye(4)}, {"architecture": '{"grid": [2, 2], "classes": ["a"]}'})
    with pytest.raises(InputError, match="no encoder; pictures need a generator with an encoder"):
        shards_of(tmp_path / "train", folder[0], family="codebook", generator=path)

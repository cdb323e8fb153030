"""A run on pictures: its classes are theirs, and pictures that do not fit stop it before anything is planned."""

import copy
import shutil

import numpy as np
import pytest
import yaml

from cortex.app.plan import counts_of
from cortex.app.workflow import levels, part_of
from cortex.config import parse_config
from cortex.core.errors import InputError
from tests.pictures import labelled, write_folders
from tests.pipeline import CHECKOUT

TINY = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
SPLITS = ("train", "validation", "test")


@pytest.fixture
def config():
    """The tiny config, to be told which pictures to import: two of a class in train, one in validation, one in test."""
    changed = copy.deepcopy(TINY) | {"judges": None, "extractors": {"cnn": TINY["extractors"]["cnn"]}}
    changed["codebook_search"] |= {"pairs": {0: 2}, "images_per_class": 1}
    changed["data"] = {"per_class": {"train": 2, "validation": 1, "test": 1}}
    return changed


@pytest.fixture
def folder(tmp_path):
    """Four pictures of blue, green and red each."""
    return write_folders(tmp_path / "all", labelled())


def refusal(config):
    with pytest.raises(InputError) as caught:
        parse_config(config)
    message = str(caught.value)
    assert len(message.splitlines()) == 1 and message.startswith("config: ")
    return message.removeprefix("config: ")


def test_a_run_on_pictures_alone_is_about_their_classes(config, folder):
    config["data"]["imports"] = {"images": str(folder)}
    parsed, spec = parse_config(config)
    assert spec.class_names == ("blue", "green", "red") and parsed.classes(spec) == [0, 1, 2]
    assert (spec.samples, spec.decodes, spec.grid) == (False, True, (8, 8))
    parts = [part_of(parsed, split) for split in SPLITS]
    assert [(part["per_class"], part["first"], part["seed"]) for part in parts] == [(2, 0, 1), (1, 2, 1), (1, 3, 1)]


def test_the_example_config_is_valid_with_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folders(tmp_path / "my_folder", labelled([0, 1] * 200))
    config, spec = parse_config(yaml.safe_load((CHECKOUT / "configs" / "pictures.yaml").read_text()))
    assert spec.class_names == ("blue", "green") and config.judges["vit"].images == "my_folder"


def test_splits_of_their_own_are_taken_in_their_order(config, tmp_path):
    for split in SPLITS:
        write_folders(tmp_path / split, labelled())
    config["data"]["imports"] = {split: {"images": str(tmp_path / split)} for split in SPLITS}
    parsed, spec = parse_config(config)
    assert part_of(parsed, "test") == {"split": "test", "per_class": 1, "first": 0, "seed": None}
    assert spec.class_names == ("blue", "green", "red")


def test_beside_drawn_splits_the_classes_are_the_generator_s(config, tmp_path):
    picture = np.zeros((4, 4, 3), np.uint8)
    write_folders(tmp_path / "all", [("two", picture), ("zero", picture)])
    config["data"] |= {"imports": {"test": {"images": str(tmp_path / "all")}}, "classes": [0, 2]}
    parsed, spec = parse_config(config)
    assert spec.samples and spec.class_names[:3] == ("zero", "one", "two") and parsed.classes(spec) == [0, 2]
    del config["data"]["classes"]
    assert refusal(config).startswith("data.imports.test.images = ")
    assert refusal(config).endswith("class 'one' has 0 pictures; data.per_class.test asks for 1")


@pytest.mark.parametrize(
    ("imports", "told"),
    [
        ({"images": "FOLDER", "test": {"images": "FOLDER"}}, "should not be set beside test"),
        ({"train": {}}, "data.imports.train.source = None: either source or images should be set"),
        ({"train": {"source": "a.csv", "images": "FOLDER"}}, "either source or images should be set"),
        ({"train": {"source": "a.csv", "class_names": "a.txt"}}, "goes with images, and with nothing else"),
        ({"class_names": "a.txt"}, "data.imports.class_names = 'a.txt': goes with images, and with nothing else"),
        ({"images": "gone"}, "data.imports.images = 'gone': gone: no such file or folder; allowed, too: digits"),
        ({"test": {"images": "gone"}}, "data.imports.test.images = 'gone': gone: no such file or folder"),
        ({split: {"images": "FOLDER"} for split in SPLITS}, "the pictures of train, too: set data.imports.images"),
        ({"test": {"images": "FOLDER"}}, "class 'blue': the generator has none of this name"),
    ],
)
def test_imports_that_do_not_fit_are_refused(config, folder, imports, told):
    def filled(part):
        return {
            key: filled(value) if isinstance(value, dict) else value.replace("FOLDER", str(folder))
            for key, value in part.items()
        }

    config["data"]["imports"] = filled(imports)
    assert told in refusal(config)


def test_too_few_pictures_of_a_class_are_counted(config, folder):
    config["data"] |= {"imports": {"images": str(folder)}, "per_class": {"train": 3, "validation": 1, "test": 1}}
    told = "class 'blue' has 4 pictures; data.per_class asks for 3 + 1 + 1"
    assert refusal(config) == f"data.imports.images = '{folder}': {told}"


def test_a_class_of_one_split_alone_is_named(config, tmp_path):
    for split in SPLITS:
        write_folders(tmp_path / split, labelled())
    write_folders(tmp_path / "test", [("violet", np.zeros((4, 4, 3), np.uint8))])
    config["data"]["imports"] = {split: {"images": str(tmp_path / split)} for split in SPLITS}
    assert refusal(config).endswith("test': class 'violet': the train split has none of this name")


def test_judges_can_be_left_out_and_are_matched_by_name(config, folder, tmp_path):
    config["data"]["imports"] = {"images": str(folder)}
    for nothing in (None, {}):
        parsed, spec = parse_config(config | {"judges": nothing})
        assert parsed.judges == {} and levels(spec, sorted(parsed.judges)) == {}
    judge = {"network": "resnet50"}
    unnamed = "judges.resnet50.class_names = None: should be set: the classes of pictures are matched by name"
    assert refusal(config | {"judges": {"resnet50": judge}}) == unnamed
    names = [f"class {number}" for number in range(997)] + ["red", "green", "blue"]
    judge["class_names"] = str(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("\n".join(names))
    parsed, spec = parse_config(config | {"judges": {"resnet50": judge}})
    assert parsed.judges["resnet50"].known_classes() == tuple(names)
    (tmp_path / "names.txt").write_text("\n".join(names[1:]))
    assert "999 names; the judge knows 1000 classes" in refusal(config | {"judges": {"resnet50": judge}})
    (tmp_path / "names.txt").write_text("\n".join(["violet", *names[:-1]]))
    told = refusal(config | {"judges": {"resnet50": judge}})
    assert "classes of the generator that it does not know: 'blue'" in told
    named = "set judges.resnet50.class_names, a file of the generator's names in the order of the judge's outputs"
    assert told.endswith(f"and 993 more; classes are matched by name: {named}, or leave classes out of data.classes")


def test_a_judge_that_ships_takes_names_too(config, folder, tmp_path):
    config["data"]["imports"] = {"images": str(folder)}
    judge = {"network": "landuse_vit"}
    told = refusal(config | {"judges": {"land": judge}})
    assert "does not know: 'blue', 'green', 'red'" in told and "set judges.land.class_names, a file" in told
    judge["class_names"] = str(tmp_path / "names.txt")
    (tmp_path / "names.txt").write_text("\n".join(["red", *"abcdefg", "blue", "green"]))
    parsed, _ = parse_config(config | {"judges": {"land": judge}})
    assert parsed.judges["land"].known_classes()[-2:] == ("blue", "green")
    (tmp_path / "names.txt").write_text("red\nblue")
    assert refusal(config | {"judges": {"land": judge}}).endswith("2 names; the judge knows 10 classes")


# --- pictures beside imported grids ------------------------------------------------------------------------------


@pytest.fixture
def beside(config, tmp_path):
    """A config of a codebook alone of 4×4 tokens, and of pictures of 8×12 pixels beside imported grids."""
    np.save(tmp_path / "codes.npy", np.eye(24, dtype=np.float32))
    np.save(tmp_path / "grids.npy", np.zeros((6, 4, 4), int))
    np.save(tmp_path / "labels.npy", np.arange(6) % 3)
    np.save(tmp_path / "pictures.npy", np.zeros((6, 8, 12, 3), np.uint8))
    (tmp_path / "names.txt").write_text("ant\nbee\ncat")
    names = {"weights": "codes.npy", "class_names": "names.txt"}
    config["generator"] = {"family": "codebook", "grid": [4, 4]} | {k: str(tmp_path / v) for k, v in names.items()}
    files = {"source": "grids.npy", "labels": "labels.npy", "pictures": "pictures.npy"}
    config["data"]["imports"] = {split: {key: str(tmp_path / file) for key, file in files.items()} for split in SPLITS}
    for split in SPLITS:  # a source of its own
        shutil.copy(tmp_path / "grids.npy", tmp_path / f"{split}.npy")
        config["data"]["imports"][split]["source"] = str(tmp_path / f"{split}.npy")
    config["codebook_search"]["region"] = {"top": 0, "left": 0, "height": 2, "width": 2}
    return config


def test_given_pictures_have_judges_and_no_decoder(beside, tmp_path):
    parsed, spec = parse_config(beside)
    assert (spec.image, spec.decodes) == ((8, 12), False)
    assert levels(spec, ["mine"]).keys() == {"image_level", "concept_level"}
    assert {size.pixels for size in counts_of(parsed, spec).splits.values()} == {6 * 288, 3 * 288}
    beside["studies"] = {"transfer": {}}
    beside["judges"] = {"mine": {"network": "saved", "weights": str(tmp_path / "codes.npy")}}
    assert refusal(beside) == "studies.transfer: it needs a generator that decodes images"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pictures": "image"}, "data.imports.test.pictures = 'image': goes with a source that is .parquet"),
        ({"pictures": "gone.npy"}, "data.imports.test.pictures = 'gone.npy': gone.npy: no such file of pictures"),
        ({"pictures": None}, "data.images.test = 'png': should be 'none', as the generator decodes no images"),
        ({"pictures": "labels.npy"}, "labels.npy: int64 of (6,); expected uint8 of (N, H, W, 3)"),
        ({"pictures": "wide.npy"}, "'wide.npy': 16×8 pixels; data.imports.train.pictures has 12×8"),
        ({"pictures": "odd.npy"}, "row 1: a picture of 13×8 pixels, no multiple of the grid's 4×4 tokens"),
        ({"source": None, "labels": None, "images": "digits"}, "pictures = 'pictures.npy': goes with a source"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(beside, changes, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("wide.npy", np.zeros((6, 8, 16, 3), np.uint8))
    np.save("odd.npy", np.zeros((6, 8, 13, 3), np.uint8))
    beside["data"]["imports"]["test"] |= {"pictures": "pictures.npy"} | changes
    assert told in refusal(beside)


def test_a_generator_with_a_decoder_shows_its_own_images(beside):
    beside["generator"] = TINY["generator"]
    beside["data"] |= {"images": dict.fromkeys(SPLITS, "none")}
    told = refusal(beside)
    assert told.startswith("data.imports.train.pictures = ")
    assert told.endswith(": should not be set, as the generator decodes the images")

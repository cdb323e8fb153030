"""The whole tiny run on a folder of pictures, which the toy generator's encoder turns into tokens."""

import json
import os

import numpy as np
import pytest
import torch
import yaml

import cortex
from cortex.data.picture_sources import find_pictures
from cortex.data.shard_reader import read_shard
from tests.pictures import write_folders
from tests.pipeline import CHECKOUT, copy_checkout, jobs_in, made, snakemake
from tests.toy_generator import SPEC, ToyGenerator

NAMES = ("fist", "palm", "thumb")
SPLITS = {"train": 12, "validation": 6, "test": 4}
TINY = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
CONFIG = TINY | {
    "run": "signs",
    "generator": {"family": "toy_generator:FAMILY"},
    "data": {"imports": {"images": "signs"}, "per_class": SPLITS, "shard_size": 20},
    "extractors": {"cnn": TINY["extractors"]["cnn"]},
    "judges": {"resnet": {"network": "resnet", "images": "signs", "size": 32, "epochs": 1}},
    "codebook_search": TINY["codebook_search"] | {"pairs": {0: 2, 2: 0}},
    "studies": {"stability": {"samples": [1, 2], "reference": 3, "images_per_class": 1}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkout with 23 pictures of each class, in which the run has been made."""
    checkout = copy_checkout(tmp_path_factory.mktemp("pictures"))
    rng = np.random.default_rng(0)
    pictures = []
    for label, name in enumerate(NAMES):
        grids = rng.integers(0, 8 * (label + 1), (sum(SPLITS.values()) + 1, *SPEC.grid))
        images = ToyGenerator(torch.device("cpu")).decode(torch.from_numpy(grids)).numpy()
        pictures += [(name, image) for image in images]
    write_folders(checkout / "signs", pictures)
    (checkout / "toy_generator.py").write_text((CHECKOUT / "tests" / "toy_generator.py").read_text())
    (checkout / "mine.yaml").write_text(yaml.safe_dump(CONFIG))
    made(checkout, "full", "--configfile", "mine.yaml", modules=[checkout])
    return checkout


def test_every_picture_is_in_one_split_under_its_class(run):
    found = []
    for split, count in SPLITS.items():
        shards = sorted((run / "results/signs/data" / split).glob("*.tar"))
        samples = [sample for shard in shards for sample in read_shard(shard, images=True)]
        assert [sample.label for sample in samples] == [0, 1, 2] * count
        for sample in samples:
            assert f"/{NAMES[sample.label]}/" in sample.info["picture"]
            model = ToyGenerator(torch.device("cpu"))
            assert np.array_equal(model.encode(torch.from_numpy(sample.image[None]))[0], sample.grid)
        found += [sample.info["picture"] for sample in samples]
    assert len(set(found)) == len(found) == 66 < len(find_pictures(str(run / "signs")))


def test_the_run_is_about_the_classes_of_the_pictures(run, monkeypatch):
    monkeypatch.setenv("CORTEX_NETWORKS", "toy_generator:FAMILY")
    monkeypatch.syspath_prepend(run)
    monkeypatch.chdir(run)
    opened = cortex.open_run("results/signs")
    assert opened.generator().spec.class_names == NAMES
    assert opened.judge("resnet").class_names == NAMES
    page = (run / "results/signs/report.html").read_text()
    assert all(name in page for name in NAMES) and "toy 1" not in page
    assert "real pictures, not generated ones" in page and "drawn by the generator" not in page
    row = opened.metrics("reconstruction").to_pylist()[0]
    assert (row["label"], row["samples"], row["fits"]) == (None, 12, True) and row["l1"] < 0.01


def test_nothing_runs_again_until_a_picture_changes(run):
    def planned():
        done = snakemake(run, "full", "--configfile", "mine.yaml", "--dry-run", modules=[run])
        assert done.returncode == 0, done.stderr
        return jobs_in(done)

    assert planned() == {}
    picture = next((run / "signs" / "palm").iterdir())
    before = picture.stat()
    picture.touch()
    assert {f"tokenize_{split}" for split in SPLITS} <= planned().keys()
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert planned() == {}


def test_the_settings_name_the_pictures(run):
    settings = json.loads((run / "results/signs/settings.json").read_text())
    assert settings["data"]["imports"]["images"] == "signs"

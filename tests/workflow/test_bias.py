"""The study of bias by a property of the pictures, in a run without judges whose train images are not kept."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from cortex.data.shard_reader import read_shard
from cortex.studies.bias.properties import brightness
from tests.pipeline import change_config, copy_checkout, jobs_in, made, snakemake

PER_CLASS = {"train": 12, "validation": 6, "test": 6}
CHANGES = {
    "data": {"per_class": PER_CLASS, "images": {"train": "none"}},
    "extractors": {"cnn": {"network": "cnn", "width": 8, "hidden": 16, "seeds": 1, "epochs": 1, "batch": 8}},
    "judges": None,
    "studies": {
        "bias": {
            "property": "brightness",
            "mixtures": [0.5, 1.0],
            "top_n": 2,
            "tokens": 3,
            "extractor": {
                **{"network": "transformer", "width": 8, "layers": 1, "heads": 2, "mlp": 8, "hidden": 8},
                **{"epochs": 2, "batch": 8},
            },
        }
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkout in which the run has been made."""
    folder = copy_checkout(tmp_path_factory.mktemp("bias"))
    settings = yaml.safe_load((folder / "tests" / "tiny.yaml").read_text())
    (folder / "tests" / "tiny.yaml").write_text(yaml.safe_dump(settings | {"extractors": {}, "judges": {}}))
    change_config(folder / "tests" / "tiny.yaml", CHANGES)
    return folder, made(folder, "full")


def test_every_shard_is_measured_and_nothing_runs_twice(run):
    folder, done = run
    jobs = jobs_in(done)
    assert jobs["measure_property"] == 2 + 1 + 1  # shards of 18 images
    assert [jobs[name] for name in ("group_by_property", "train_groups", "bias_tokens", "bias")] == [1] * 4
    assert jobs["draw_bias_property"] == 1 and "group_classes" not in jobs
    again = snakemake(folder, "full", "--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_code_of_the_property_counts(run):
    stages = json.loads((run[0] / "results/tiny/code.json").read_text())["stages"]
    (measure,) = (stage for stage in stages if stage["stage"] == "measure-property")
    assert "cortex.studies.bias.properties:brightness" in measure["references"]


def test_the_values_are_those_of_the_images(run):
    results = run[0] / "results" / "tiny"
    (shard,) = (results / "data" / "test").glob("*.tar")
    expected = [float(brightness(sample.image[None])[0]) for sample in read_shard(shard, images=True)]
    rows = pd.read_parquet(results / "studies/bias/brightness/test" / f"{shard.stem}.parquet")
    assert rows["value"].tolist() == pytest.approx(expected)
    groups = pd.read_parquet(results / "studies/bias/brightness/groups.parquet")
    assert groups.groupby(["split", "group", "label"]).size().unstack("split").to_numpy().tolist() == [[2, 4, 2]] * 9
    train = np.load(results / "studies/bias/brightness/train.npy")
    assert np.bincount(train["label"]).tolist() == [12, 12]


def test_the_page_has_the_classes_and_the_figure(run):
    results = run[0] / "results" / "tiny"
    rows = pd.read_parquet(results / "metrics" / "bias.parquet")
    kinds = ["held-out", "mixture", "mixture", "held-out", "neutral", *["mixture", "mixture", "neutral"] * 3]
    assert rows["set"].tolist() == 2 * kinds
    assert rows["class_name"].fillna("").tolist() == 2 * [*[""] * 5, *["one"] * 3, *["two"] * 3, *["seven"] * 3]
    page = (results / "report.html").read_text()
    assert 'id="bias_property"' in page and "Lean of every class" in page

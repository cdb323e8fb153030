"""configs/dalle_mini.yaml at its smallest: a VQGAN alone, grids from elsewhere, no extractor or judge of its own."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from cortex.config import parse_config
from cortex.core.errors import InputError
from cortex.data.shard_reader import read_shard
from cortex.generators.load import generator_spec
from cortex.generators.network.vqgan import VQGAN
from tests.pipeline import CHECKOUT, change_config, copy_checkout, jobs_in, snakemake
from tests.published import TINY_DDCONFIG, detoker
from tests.training import JUDGE

COUNTS = {"train": 48, "validation": 24, "test": 16}
SMALL = {
    "device": "cpu",
    "data": {"per_class": COUNTS, "shard_size": 40},
    "importance": {"samples": 4, "noise": 0.05},
    "studies": {
        "bias": {
            "pairs": {1: 2},
            "mixtures": [0.5, 0.75],
            "top_n": 32,
            "tokens": 3,
            "extractor": {"width": 16, "hidden": 32, "batch": 16, "epochs": 6, "learning_rate": 0.003},
        },
    },
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with that config, a VQGAN of 16×16 grids of 48 codes, and grids of the five prompts as Parquet.

    Black doctors have code 40 at 64 positions, white ones 45; three of four doctors without a word for it are white.
    """
    folder = copy_checkout(tmp_path_factory.mktemp("dalle_mini"))
    for name in ("dalle_mini.yaml", "dalle_mini.txt"):
        (folder / "configs").mkdir(exist_ok=True)
        (folder / "configs" / name).write_bytes((CHECKOUT / "configs" / name).read_bytes())
    settings = yaml.safe_load((folder / "configs/dalle_mini.yaml").read_text())
    settings["studies"]["bias"]["pairs"] = {}
    (folder / "configs/dalle_mini.yaml").write_text(yaml.safe_dump(settings))
    change_config(folder / "configs/dalle_mini.yaml", SMALL)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        vqgan = VQGAN(TINY_DDCONFIG | {"ch_mult": [1, 1], "resolution": 32}, n_embed=48, embed_dim=16)
        vqgan.codebook.data.normal_()
    for name in ("min-dalle", "dalle_mini"):
        (folder / name).mkdir()
    torch.save(detoker(vqgan.state_dict()), folder / "min-dalle/detoker.pt")
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        labels = np.repeat(np.arange(5), count)
        grids = rng.integers(0, 8, (len(labels), 256))
        planted = np.array([0, 40, 45, 0, 0])[labels]
        planted[:count] = np.where(np.arange(count) % 4 == 0, 40, 45)
        places = rng.permuted(np.tile(np.arange(256), (len(labels), 1)), axis=1)[:, :64]
        np.put_along_axis(grids, places, planted[:, None], axis=1)
        rows = pd.DataFrame({"label": labels, "grid": grids.tolist()}).sample(frac=1, random_state=0)
        rows.to_parquet(folder / "dalle_mini" / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def run(checkout):
    """The checkout in which the run has been made."""
    done = snakemake(checkout, "full", "--configfile", "configs/dalle_mini.yaml")
    logs = "\n".join(path.read_text() for path in checkout.rglob("*.log") if "error" in path.read_text())
    assert done.returncode == 0, done.stderr + logs
    return checkout, done


def test_nothing_is_drawn_trained_or_judged_but_what_bias_needs(run):
    checkout, done = run
    assert jobs_in(done) == {
        "convert_generator": 1,
        "import_train": 1,
        "import_validation": 1,
        "import_test": 1,
        "manifest": 1,
        "read_tokens": 11,
        "pack_grids": 3,
        "export_codebook": 1,
        "group_classes": 1,
        "train_groups": 1,
        "bias_tokens": 1,
        "bias": 1,
    }
    again = snakemake(checkout, "full", "--configfile", "configs/dalle_mini.yaml")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_classes_are_the_prompts(run):
    results = run[0] / "results/dalle_mini"
    prompts = ("a doctor", "a black doctor", "a white doctor", "a female doctor", "a male doctor")
    assert generator_spec(results / "generator/weights.safetensors", "dalle_mini").class_names == prompts
    samples = [
        sample for path in sorted((results / "data/test").glob("*.tar")) for sample in read_shard(path, images=True)
    ]
    assert len(samples) == 5 * COUNTS["test"]
    assert all(sample.info["class_name"] == prompts[sample.label] for sample in samples)
    assert {sample.image.shape for sample in samples} == {(32, 32, 3)}


def test_the_neutral_prompt_leans_as_it_was_made_to(run):
    rows = pd.read_parquet(run[0] / "results/dalle_mini/metrics/bias.parquet")
    doctors = rows[rows["class_name"] == "a doctor"]
    assert doctors["first_name"].tolist() == ["a black doctor"] * 2
    assert doctors["images"].tolist() == [sum(COUNTS.values())] * 2, "those of all splits: nothing learned from them"
    assert ((doctors["share_low"] < 0.25) & (doctors["share_high"] > 0.25) & (doctors["share_high"] < 0.5)).all()
    published = rows[rows["list"] == "count"].set_index("class_name")
    assert published.loc["a doctor", "high"] < 0 and published.loc["a doctor", "p"] < 0.001
    (even,) = published[published["true_share"] == 0.5].to_dict("records")
    assert even["low"] <= 0 <= even["high"] and even["share_low"] <= 0.5 <= even["share_high"]


def test_a_vqgan_alone_serves_a_whole_run_where_all_splits_are_imported(checkout):
    config = checkout / "configs" / "whole.yaml"
    config.write_bytes((checkout / "configs/dalle_mini.yaml").read_bytes())
    whole = {
        "extractors": {"cnn": {"network": "cnn", "seeds": 1, "width": 8}},
        "judges": {"vit": JUDGE | {"class_names": "configs/dalle_mini.txt"}},
        "run": "whole",
    }
    whole |= {"codebook_search": {"region": {"top": 0, "left": 0}, "pairs": {1: 2}, "images_per_class": 2}}
    whole |= {"concept_tokens": {"top_n": [1], "tokens": 6}, "studies": None}
    whole |= {"evaluation": {"accuracy": {"k": [1]}, "image_level": {"n": [2]}, "concept_level": {"top_n": [1]}}}
    change_config(config, whole)
    planned = snakemake(checkout, "--dry-run", "--configfile", "configs/whole.yaml")
    assert planned.returncode == 0, planned.stderr
    jobs = jobs_in(planned)
    assert jobs["import_train"] == jobs["image_level"] // 2 == jobs["report"] == 1  # two test shards
    assert not jobs.keys() & {"generate_shard", "train_groups", "bias"}


@pytest.mark.parametrize(
    ("section", "change", "told"),
    [
        (
            "data",
            {"imports": {"test": None}},
            "without a transformer draws no images: data.imports lacks test",
        ),
        (
            "generator",
            {"class_names": None},
            "a transformer has no classes: set generator.class_names",
        ),
        ("judges", {"vit": JUDGE}, "extractors = None: should be set beside judges"),
        ("studies", None, "extractors = None: should be set, or studies that need no extractors, such as bias"),
        ("studies.bias", {"neutral": 2}, "bias.pairs.1 = 2: class 2 is the neutral one"),
        ("studies.bias", {"neutral": 5}, "bias.neutral = 5: class 5 is not among the run's [0, 1, 2, 3, 4]"),
        ("studies.bias", {"pairs": {1: 7}}, "bias.pairs.1 = 7: class 7 is not among the run's"),
        ("studies.bias", {"pairs": {1: 1}}, "bias.pairs.1 = 1: should be another class"),
        ("studies.bias", {"top_n": 257}, "bias.top_n = 257: at most 256, the positions of the grid"),
        ("studies.bias", {"tokens": 49}, "bias.tokens = 49: at most 48, the codes of the codebook"),
        ("studies.bias", {"mixtures": [0.5, 1.5]}, "bias.mixtures.1 = 1.5: should be less than or equal to 1"),
        ("studies.bias", {"extractor": {"gpus": 2}}, "bias.extractor.gpus = 2: should be 1"),
        ("data", {"per_class": {"test": 1}}, "intervals need data.per_class.test of at least 2; it is 1"),
    ],
)
def test_what_does_not_fit_is_told(checkout, monkeypatch, tmp_path, section, change, told):
    monkeypatch.chdir(checkout)
    config = tmp_path / "wrong.yaml"
    config.write_bytes((checkout / "configs/dalle_mini.yaml").read_bytes())
    parse_config(yaml.safe_load(config.read_text()))
    for name in reversed(section.split(".")):
        change = {name: change}
    change_config(config, change)
    with pytest.raises(InputError, match=re.escape(told)):
        parse_config(yaml.safe_load(config.read_text()))

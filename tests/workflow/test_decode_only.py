"""A run of imported grids that the tokenizer of a text-to-image model decodes: its folder is all that the run needs."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from cortex.data.shard_reader import read_shard
from cortex.generators.load import load_generator
from tests.pipeline import CHECKOUT, copy_checkout, jobs_in, made
from tests.published import CODES, tiny_llamagen

COUNTS = {"train": 12, "validation": 6, "test": 4}
CLASSES = ("a cat", "a dog", "a cat on a dog")
TINY = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
CONFIG = TINY | {
    "run": "janus",
    "generator": {"family": "janus", "folder": "Janus-Pro-1B", "class_names": "prompts.txt"},
    "data": {
        "per_class": COUNTS,
        "shard_size": 36,
        "imports": {split: {"source": f"{split}.npy", "labels": f"{split}_labels.npy"} for split in COUNTS},
    },
    "extractors": {"cnn": TINY["extractors"]["cnn"]},
    "codebook_search": TINY["codebook_search"] | {"pairs": {0: 1}, "images_per_class": 1},
    "judges": None,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The checkout in which the run has been made; Snakemake's output; the grids by split.

    Code 40 + label fills three rows of every grid.
    """
    folder = copy_checkout(tmp_path_factory.mktemp("janus"))
    (folder / "tests" / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "prompts.txt").write_text("\n".join(CLASSES))
    (folder / "Janus-Pro-1B").mkdir()
    state = {f"gen_vision_model.{name}": weight.contiguous() for name, weight in tiny_llamagen(24)[0].items()}
    state["language_model.model.embed_tokens.weight"] = torch.full((3, 4), torch.nan)
    save_file(state, folder / "Janus-Pro-1B" / "model.safetensors")
    rng, grids = np.random.default_rng(0), {}
    for split, count in COUNTS.items():
        labels = np.tile(np.arange(3), count)
        grids[split] = rng.integers(0, 40, (len(labels), 24, 24))
        grids[split][:, 10:13] = 40 + labels[:, None, None]
        np.save(folder / f"{split}.npy", grids[split])
        np.save(folder / f"{split}_labels.npy", labels)
    return folder, made(folder), grids


def test_the_tokenizer_is_converted_and_decodes_the_grids(run):
    folder, done, grids = run
    results = folder / "results/janus"
    jobs = jobs_in(done)
    assert jobs["convert_generator"] == jobs["import_test"] == 1 and "generate_shard" not in jobs
    samples = list(read_shard(results / "data/test/000000.tar", images=True, codes=CODES))
    assert np.array_equal(np.stack([sample.grid for sample in samples]), grids["test"])
    assert [sample.info["class_name"] for sample in samples[:3]] == list(CLASSES)
    generator = load_generator(results / "generator/weights.safetensors", family="janus")
    decoded = generator.decode(torch.from_numpy(grids["test"][:3].astype(np.int64))).numpy()
    assert decoded.std() > 1
    for image, sample in zip(decoded, samples[:3], strict=True):
        assert abs(image.astype(int) - sample.image).max() <= 1


def test_its_tokens_are_explained(run):
    results = run[0] / "results/janus"
    frequent = pd.read_parquet(results / "tokens/frequency.parquet")
    first = frequent[frequent["rank"] == 0]
    assert set(zip(first["label"], first["token"], strict=True)) == {(0, 40), (1, 41), (2, 42)}, "the planted ones"
    assert set(pd.read_parquet(results / "tokens/tis/cnn/0.parquet")["label"]) == {0, 1, 2}
    page = (results / "report.html").read_text()
    assert "an image: 24 × 24" in page and "a cat on a dog" in page

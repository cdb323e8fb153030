"""Runs of imported grids that a text-to-image model's tokenizer decodes: its folder is all that a run needs."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import save_file

from cortex.data.shard_reader import read_shard
from cortex.generators.load import load_generator
from tests.pipeline import CHECKOUT, copy_checkout, jobs_in, made
from tests.published import CODES, TINY_DDCONFIG, tiny_llamagen
from tests.tokenizer_folders import chameleon, tiny_vqgan

COUNTS = {"train": 12, "validation": 6, "test": 4}
CLASSES = ("a cat", "a dog", "a cat on a dog")
TINY = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
CONFIG = TINY | {
    "run": "imported",
    "data": {
        "per_class": COUNTS,
        "shard_size": 36,
        "imports": {split: {"source": f"{split}.npy", "labels": f"{split}_labels.npy"} for split in COUNTS},
    },
    "extractors": {"cnn": TINY["extractors"]["cnn"]},
    "codebook_search": TINY["codebook_search"] | {"pairs": {0: 1}, "images_per_class": 1},
    "judges": None,
}


def write_janus(folder):
    folder.mkdir()
    state = {f"gen_vision_model.{name}": weight.contiguous() for name, weight in tiny_llamagen(24)[0].items()}
    state["language_model.model.embed_tokens.weight"] = torch.full((3, 4), torch.nan)
    save_file(state, folder / "model.safetensors")


def write_chameleon(folder):
    ddconfig = {"attn_resolutions": [], "resolution": 64}
    chameleon(folder, tiny_vqgan(**ddconfig), TINY_DDCONFIG | ddconfig)


TOKENIZERS = {"janus": ("janus", write_janus, 24), "chameleon": ("taming", write_chameleon, 16)}  # family, files, side


@pytest.fixture(scope="module", params=TOKENIZERS)
def run(request, tmp_path_factory):
    """The checkout in which the run has been made; Snakemake's output; the grids by split; family and side of a grid.

    Code 40 + label fills three rows of every grid.
    """
    family, write, side = TOKENIZERS[request.param]
    folder = copy_checkout(tmp_path_factory.mktemp(request.param))
    generator = {"family": family, "folder": "model", "class_names": "prompts.txt"}
    (folder / "tests" / "tiny.yaml").write_text(yaml.safe_dump(CONFIG | {"generator": generator}))
    (folder / "prompts.txt").write_text("\n".join(CLASSES))
    write(folder / "model")
    rng, grids = np.random.default_rng(0), {}
    for split, count in COUNTS.items():
        labels = np.tile(np.arange(3), count)
        grids[split] = rng.integers(0, 40, (len(labels), side, side))
        grids[split][:, 10:13] = 40 + labels[:, None, None]
        np.save(folder / f"{split}.npy", grids[split])
        np.save(folder / f"{split}_labels.npy", labels)
    return folder, made(folder), grids, family, side


def test_the_tokenizer_is_converted_and_decodes_the_grids(run):
    folder, done, grids, family, _ = run
    results = folder / "results/imported"
    jobs = jobs_in(done)
    assert jobs["convert_generator"] == jobs["import_test"] == 1 and "generate_shard" not in jobs
    samples = list(read_shard(results / "data/test/000000.tar", images=True, codes=CODES))
    assert np.array_equal(np.stack([sample.grid for sample in samples]), grids["test"])
    assert [sample.info["class_name"] for sample in samples[:3]] == list(CLASSES)
    generator = load_generator(results / "generator/weights.safetensors", family=family)
    decoded = generator.decode(torch.from_numpy(grids["test"][:3].astype(np.int64))).numpy()
    assert decoded.std() > 1
    for image, sample in zip(decoded, samples[:3], strict=True):
        assert abs(image.astype(int) - sample.image).max() <= 1


def test_its_tokens_are_explained(run):
    folder, _, _, _, side = run
    results = folder / "results/imported"
    frequent = pd.read_parquet(results / "tokens/frequency.parquet")
    first = frequent[frequent["rank"] == 0]
    assert set(zip(first["label"], first["token"], strict=True)) == {(0, 40), (1, 41), (2, 42)}, "the planted ones"
    assert set(pd.read_parquet(results / "tokens/tis/cnn/0.parquet")["label"]) == {0, 1, 2}
    page = (results / "report.html").read_text()
    assert f"an image: {side} × {side}" in page and "a cat on a dog" in page

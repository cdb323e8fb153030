"""A run on a folder of taming-transformers, through Snakemake: converted once, then drawn from."""

import numpy as np
import pytest
import torch
import yaml

from cortex.data.draw import draw_samples
from cortex.data.settings import ImageFiles
from cortex.data.shard_reader import read_shard
from cortex.generators.load import load_generator
from cortex.generators.sampling import Sampling
from tests.pipeline import copy_checkout, snakemake
from tests.training import JUDGE
from tests.unit.generators.test_convert import PROJECT, Net2NetTransformer, folder_of

CONFIG = {
    "run": "folder",
    "generator": {
        "folder": "the authors' folder",
        "class_names": "names.txt",
        "batch": {"classes": 5, "indices": 2},
        "top_k": None,
    },
    "data": {"per_class": {"train": 2, "validation": 2, "test": 2}, "shard_size": 20},
    "extractors": {"resnet": {"network": "resnet", "seeds": 1, "width": 16, "hidden": 16, "epochs": 1, "batch": 8}},
    "judges": {"vit": JUDGE | {"class_names": "names.txt"}},
    "concept_tokens": {"top_n": [1], "tokens": 6},
    "codebook_search": {"region": {"top": 0, "left": 0}, "pairs": {0: 6}, "images_per_class": 1},
    "evaluation": {"image_level": {"n": [1]}, "concept_level": {"top_n": [1]}},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A checkout in which the test split and the codebook have been made."""
    checkout = copy_checkout(tmp_path_factory.mktemp("folder"))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = Net2NetTransformer(PROJECT["model"]["params"])
    folder_of(checkout / "the authors' folder", model.state_dict(), PROJECT)
    (checkout / "names.txt").write_text("\n".join(f"name {number}" for number in range(10)))
    (checkout / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    targets = ["results/folder/data/test/000000.tar", "results/folder/generator/codebook.safetensors"]
    done = snakemake(checkout, *targets, "--configfile", "config.yaml")
    assert done.returncode == 0, done.stderr
    return checkout, done.stdout + done.stderr


def test_shards_are_drawn_from_the_converted_weights(run):
    checkout, said = run
    assert said.count("Convert the generator's checkpoint") == 1
    samples = list(read_shard(checkout / "results/folder/data/test/000000.tar", images=True))
    assert [sample.info["class_name"] for sample in samples[:10]] == [f"name {number}" for number in range(10)]
    model = load_generator(checkout / "results/folder/generator/weights.safetensors")
    grids, _ = draw_samples(
        model,
        np.tile(np.arange(10), 2),
        np.repeat([0, 1], 10),
        seed=0,
        stream=2,
        sampling=Sampling(top_k=None, top_p=0.92),
        batch=(5, 2),
        keep=ImageFiles(),
    )
    assert (np.stack([sample.grid for sample in samples]) == grids).all()
    images = model.decode(torch.from_numpy(grids.astype(np.int64))).numpy()
    assert np.abs(np.stack([sample.image for sample in samples]).astype(int) - images).max() <= 1


def test_it_is_converted_again_when_the_checkpoint_is_another(run):
    checkout, _ = run
    for target in ("results/folder/data/test/000000.tar", "convert_generator"):
        again = snakemake(checkout, target, "--dry-run", "--configfile", "config.yaml")
        assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
    (checkout / "the authors' folder/checkpoints/last.ckpt").touch()
    after = snakemake(checkout, "convert_generator", "--dry-run", "--configfile", "config.yaml")
    assert "Convert the generator's checkpoint" in after.stdout + after.stderr

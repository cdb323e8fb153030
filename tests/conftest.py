"""What several test files share: a generator small enough to run in every test."""

import os
import shutil
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: on tensors this small, threads only wait for each other

import pytest
import yaml
from hypothesis import settings

from tests.pipeline import CHECKOUT, change_config, copy_checkout, made

# No deadline: the first example of a test may import torch. The same examples on every machine.
settings.register_profile("cortex", deadline=None, derandomize=True)
settings.load_profile("cortex")


RUNS = {"tiny_run", "controlled_run"}  # fixtures that run Snakemake


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Snakemake: ``make test-quick`` leaves them out."""
    for item in items:
        if RUNS & set(getattr(item, "fixturenames", ())) or "workflow" in item.path.parts:
            item.add_marker("workflow")


@pytest.fixture(scope="session")
def generator_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random generator of 7 classes, 4×4 grids of 24 codes of 6 channels, and images of 8×8 pixels; it can be guided.

    Its weights are large, so that its next-token distributions are far from uniform and its images not all grey.
    """
    import torch
    from taming.modules.transformer.mingpt import GPT

    from cortex.generators.taming.generator import save_generator
    from cortex.generators.taming.vqgan import VQGAN

    architecture = {
        "vqgan": {
            "n_embed": 24,
            "embed_dim": 6,
            "ddconfig": {
                "double_z": False,
                "z_channels": 8,
                "resolution": 8,
                "in_channels": 3,
                "out_ch": 3,
                "ch": 32,  # taming's GroupNorm has 32 groups
                "ch_mult": [1, 1],
                "num_res_blocks": 1,
                "attn_resolutions": [],
                "dropout": 0.0,
            },
        },
        "transformer": {"vocab_size": 24, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16},
        "classes": ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"],
        "null_class": 7,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vqgan, transformer = VQGAN(**architecture["vqgan"]), GPT(**architecture["transformer"])
        with torch.no_grad():
            vqgan.codebook.normal_()
            for parameter in transformer.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(std=0.5)
            transformer.pos_emb.normal_(std=0.5)
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    save_generator(path, vqgan, transformer, architecture)
    return path


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A checkout in which the tiny run has been made, by snakemake; not to be changed."""
    folder = copy_checkout(tmp_path_factory.mktemp("tiny"))
    made(folder, record_calls=True)
    return folder


@pytest.fixture(scope="session")
def controlled_run(tiny_run, tmp_path_factory):
    """A copy of the tiny run in which all that tests/studies.yaml adds to its config has been made, too."""
    folder = tmp_path_factory.mktemp("controlled") / "checkout"
    shutil.copytree(tiny_run, folder, symlinks=True)
    change_config(folder / "tests" / "tiny.yaml", yaml.safe_load((CHECKOUT / "tests" / "studies.yaml").read_text()))
    made(folder, "full", record_calls=True)
    return folder


@pytest.fixture
def tiny_data(tmp_path):
    """Files to train extractors on, by the names of train_extractor's arguments."""
    from tests.training import write_tiny_data

    return write_tiny_data(tmp_path)

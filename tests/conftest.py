"""What several test files share: a generator small enough to run in every test."""

import fcntl
import os
import shutil
from collections.abc import Callable
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
# The files that take longest. Of two processes one begins with the runs that several files read, the other with runs
# of its own; what is short comes last and fills both up.
FIRST = [
    "test_code_on_record.py",
    "test_open.py",
    "test_faults.py",
    "test_network_families.py",
    "test_reruns.py",
    "test_dalle_mini.py",
    "test_plan.py",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need Snakemake: ``make test-quick`` leaves them out. The longest files come first."""
    for item in items:
        if RUNS & set(getattr(item, "fixturenames", ())) or "workflow" in item.path.parts:
            item.add_marker("workflow")
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))


@pytest.fixture(scope="session")
def generator_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random generator of 7 classes, 4×4 grids of 24 codes of 6 channels, and images of 8×8 pixels; it can be guided.

    Its weights are large, so that its next-token distributions are far from uniform and its images not all grey.
    """
    import torch
    from taming.modules.transformer.mingpt import GPT

    from cortex.generators.network.architecture import describe
    from cortex.generators.network.load import save_generator
    from cortex.generators.network.vqgan import VQGAN

    of_vqgan = {
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
    }
    of_gpt = {"vocab_size": 24, "block_size": 16, "n_layer": 2, "n_head": 2, "n_embd": 16}
    names = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vqgan, transformer = VQGAN(**of_vqgan), GPT(**of_gpt)
        with torch.no_grad():
            vqgan.codebook.normal_()
            for parameter in transformer.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(std=0.5)
            transformer.pos_emb.normal_(std=0.5)
    path = tmp_path_factory.mktemp("generator") / "generator.safetensors"
    save_generator(path, vqgan, transformer, describe("taming", of_vqgan, of_gpt, names, null_class=7))
    return path


def shared(name: str, tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """A folder that the first of the test processes to ask for it makes; the others wait for it."""
    folder = tmp_path_factory.getbasetemp() / name
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = tmp_path_factory.getbasetemp().parent / name
    done = folder.with_suffix(".done")
    with open(folder.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A checkout in which the tiny run has been made, by snakemake; not to be changed."""

    def make(folder):
        folder.mkdir()
        made(copy_checkout(folder), record_calls=True)

    return shared("tiny", tmp_path_factory, make)


@pytest.fixture(scope="session")
def controlled_run(tiny_run, tmp_path_factory):
    """A copy of the tiny run in which all that tests/studies.yaml adds to its config has been made, too."""

    def make(folder):
        shutil.copytree(tiny_run, folder, symlinks=True)
        change_config(folder / "tests" / "tiny.yaml", yaml.safe_load((CHECKOUT / "tests" / "studies.yaml").read_text()))
        made(folder, "full", record_calls=True)

    return shared("controlled", tmp_path_factory, make)


@pytest.fixture
def tiny_data(tmp_path):
    """Files to train extractors on, by the names of train_extractor's arguments."""
    from tests.training import write_tiny_data

    return write_tiny_data(tmp_path)


@pytest.fixture(scope="session")
def browser():
    """Chromium without a screen. Where there is none, the tests are skipped, but never in continuous integration."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    if program is None and not os.environ.get("CI"):
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program)
        yield started
        started.close()


@pytest.fixture
def window(browser):
    """A function that opens an address in a window of a size."""
    contexts = []

    def opened(size, url, **options):
        contexts.append(browser.new_context(viewport=size, **options))
        page = contexts[-1].new_page()
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()

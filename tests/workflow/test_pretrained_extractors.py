"""A whole run with extractors that were trained elsewhere: one of the authors' checkpoints, and one of another run."""

import shutil

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from cortex.core.tables import read_table
from cortex.extractors.authors_checkpoint import import_extractor
from cortex.extractors.network import build_extractor
from tests.pipeline import CHECKOUT, copy_checkout, jobs_in, made

TINY = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
CNN = {"width": 8, "hidden": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The checkout in which a run with two checkpoints of CE and a trained RE has been made, and Snakemake's output."""
    folder = copy_checkout(tmp_path_factory.mktemp("pretrained"))
    for training in (0, 1):
        torch.manual_seed(training)
        network = build_extractor("cnn", channels=32, classes=10, grid=(8, 8), **CNN)
        torch.save(network.state_dict(), folder / "best_model.pth")
        weights = folder / f"authors{training}.safetensors"
        import_extractor(weights, "cnn", folder / "best_model.pth", grid_height=8, grid_width=8)
    given = {"network": "cnn", "weights": ["authors0.safetensors", "authors1.safetensors"]}
    config = TINY | {"extractors": {"authors": given}, "judges": None}
    (folder / "tests" / "tiny.yaml").write_text(yaml.safe_dump(config))
    return folder, made(folder)


def test_nothing_is_trained_and_everything_is_explained(run):
    folder, done = run
    results, jobs = folder / "results/tiny", jobs_in(done)
    assert jobs["pretrained_extractor"] == 2 and "train_extractor" not in jobs and "draw_training" not in jobs
    for training in (0, 1):
        ours = load_file(results / f"extractors/authors/{training}/model.safetensors")
        given = load_file(folder / f"authors{training}.safetensors")
        assert ours.keys() == given.keys() and all(torch.equal(ours[name], given[name]) for name in given)
    accuracy = read_table(results / "metrics/extractor_accuracy.parquet").to_pylist()
    assert {(row["extractor"], row["training"]) for row in accuracy} == {("authors", t) for t in (0, 1, None)}
    assert set(pd.read_parquet(results / "tokens/tis/authors/average.parquet")["label"]) == {1, 2, 7}
    assert "authors (2 trainings)" in (results / "report.html").read_text()


def test_other_weights_are_explained_anew(run):
    folder, _ = run
    shutil.copy(folder / "authors1.safetensors", folder / "authors0.safetensors")
    jobs = jobs_in(made(folder, "--dry-run"))
    assert jobs["pretrained_extractor"] == 1 and jobs["importance"] == 3
    made(folder, "--touch")

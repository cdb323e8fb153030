"""docs/extend.md does what it says: its snippets form one module, which is used as a run uses it."""

import importlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from torch import nn

import cortex
from cortex.app.cli import all_commands
from cortex.config import parse_config
from cortex.core.tables import read_table
from cortex.core.weights import write_weights
from cortex.explain import ATTRIBUTIONS
from cortex.extractors.network import build_extractor, save_extractor
from cortex.judges import judge_settings
from cortex.judges.judge import load_judge
from cortex.judges.pretrained import pretrained_judge
from cortex.judges.train import train_judge
from cortex.studies import load_study
from cortex.studies.bias.settings import PROPERTIES
from cortex.studies.run import run_study
from tests.browser import WIDE
from tests.pipeline import CHECKOUT
from tests.training import JUDGE, run_training

PAGES = sorted((CHECKOUT / "docs").glob("*.md")) + [
    CHECKOUT / name for name in ("README.md", "OUTPUTS.md", "METHOD.md")
]
CPU = torch.device("cpu")


def blocks(language):
    """The page's blocks of a language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", (CHECKOUT / "docs" / "extend.md").read_text(), re.DOTALL)


@pytest.fixture(autouse=True)
def my_methods(tmp_path_factory, monkeypatch):
    """The module that the page's snippets form, in a folder of its own."""
    folder = tmp_path_factory.mktemp("methods")
    (folder / "my_methods.py").write_text("\n\n".join(blocks("python")))
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module("my_methods")
    del sys.modules["my_methods"]


def test_the_configs_of_the_page_are_valid():
    config = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
    config["studies"] = {}
    for block in blocks("yaml"):
        for key, value in yaml.safe_load(block).items():
            config[key] = {**config[key], **value} if key == "studies" else value
    config["studies"]["attributions"]["images_per_class"] = 2
    family = config["generator"]["family"]
    config["generator"] = {"weights": "digits"}
    parsed, _ = parse_config(config)
    assert parsed.extractors["mlp"].hidden == 32 and parsed.judges["linear"].epochs == 2
    assert set(parsed.chosen_studies()) == {"attributions", "background", "repeats"}
    assert (CHECKOUT / f"{family.partition(':')[0].replace('.', '/')}.py").is_file()


def test_the_extractor_learns(tmp_path, tiny_data):
    _, history = run_training(tmp_path, tiny_data, "my_methods:MLP", hidden=16, epochs=3)
    assert history["val_top1"].to_pylist()[-1] > 0.9, "the class is the token that fills the grid"


def test_the_trained_judge_learns(tmp_path, monkeypatch):
    monkeypatch.setenv("CORTEX_NETWORKS", "my_methods:LinearJudge")
    output, history, name = tmp_path / "judge.safetensors", tmp_path / "history.parquet", "my_methods:LinearJudge"
    train_judge(output, history, settings=judge_settings(name)(**JUDGE | {"network": name}), device="cpu")
    assert read_table(history)["held_out_top1"][0].as_py() > 0.5
    assert load_judge(output, CPU).logits(torch.zeros(3, 32, 32, 3, dtype=torch.uint8)).shape == (3, 10)


def test_the_judge_with_weights_of_its_own_judges(tmp_path, monkeypatch):
    monkeypatch.setenv("CORTEX_NETWORKS", "my_methods:Brightness")
    name = "my_methods:Brightness"
    pretrained_judge(tmp_path / "judge.safetensors", settings=judge_settings(name)(network=name))
    images = torch.tensor([0, 100, 255], dtype=torch.uint8)[:, None, None, None].expand(3, 8, 8, 3)
    assert load_judge(tmp_path / "judge.safetensors", CPU).logits(images).argmax(1).tolist() == [0, 4, 9]


def test_the_attribution_scores_every_position():
    """Of a linear extractor, the gradient is its weights."""
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(5 * 4 * 4, 3))
    labels = torch.tensor([2, 0])
    scores = ATTRIBUTIONS.load("my_methods:absolute_gradient")(extractor, torch.randn(2, 5, 4, 4), labels, None)
    expected = extractor[1].weight[labels].view(2, 5, 4, 4).abs().amax(1)
    torch.testing.assert_close(scores, expected)


def test_an_attribution_puts_other_codes_in_place():
    """Of a linear extractor, the fall is that of the vector's product with the weights."""
    codebook = torch.tensor([[0.0, 0], [1, 0], [5, 5], [5, 6]])
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(2 * 2 * 2, 3))
    grids = np.array([[0, 1, 2, 3], [3, 3, 0, 0]], np.uint16)
    images = cortex.Tokens(["a", "b"], np.array([2, 0]), grids, (2, 2))
    scored = cortex.importance(extractor, codebook, images, method="my_methods:nearest_code")
    nearest = torch.tensor([1, 0, 3, 2])
    for image, label in enumerate([2, 0]):
        weights = extractor[1].weight[label].view(2, 4)
        own = torch.from_numpy(grids[image].astype(np.int64))
        fall = ((codebook[own] - codebook[nearest[own]]) * weights.T).sum(1)
        np.testing.assert_allclose(scored.scores["importance"][image], fall.detach(), atol=1e-5)


def test_the_property_measures_images():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[1, :2] = (200, 40, 0)
    assert PROPERTIES.load("my_methods:redness")(images).tolist() == [0, (200 - 40) / 2]


def test_the_rows_of_the_study_are_computed(tmp_path):
    network = {"channels": 5, "classes": 3, "grid": (4, 4), "width": 8, "hidden": 16}
    save_extractor(tmp_path / "model.safetensors", "cnn", network, build_extractor("cnn", **network).state_dict())
    write_weights(tmp_path / "codebook.safetensors", {"codebook": torch.randn(6, 5)}, {})
    tokens = np.zeros((2, 16), np.uint16)
    tokens[1, :4] = [1, 2, 3, 4]
    scores = {"importance": np.zeros((2, 16), np.float32)}
    images = cortex.Tokens(["a", "b"], np.array([0, 1]), tokens, (4, 4), scores)
    cortex.write_tokens(tmp_path / "scores.parquet", images)
    run_study(
        tmp_path / "rows.parquet",
        scores=[tmp_path / "scores.parquet"],
        extractor=tmp_path / "model.safetensors",
        codebook=tmp_path / "codebook.safetensors",
        settings=cortex.StudySettings(study="my_methods:STUDY"),
        device="cpu",
    )
    rows = read_table(tmp_path / "rows.parquet").to_pylist()
    assert rows == [{"key": "a", "measure": "share", "value": 1.0}, {"key": "b", "measure": "share", "value": 0.75}]
    assert load_study("my_methods:STUDY").by == ("measure",)


@pytest.mark.slow
def test_the_site_has_every_page_and_every_command_and_searches_as_files(tmp_path, window):
    """Strict: a broken link, or a page that no menu names, is an error. The search needs no server and no network."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=CHECKOUT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {page.stem for page in PAGES if page.name != "README.md"} <= {page.stem for page in tmp_path.rglob("*.html")}
    commands = (tmp_path / "site" / "commands.html").read_text()
    assert all(f">{command}<" in commands for phase in all_commands().values() for command in phase)
    page = window(WIDE, (tmp_path / "site" / "index.html").as_uri())
    page.locator(".md-search__input").click()
    page.keyboard.type("slurm")
    page.locator(".md-search-result__link[href*='cluster.html']").first.wait_for()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page):
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if "://" in path:
            continue
        linked = page.parent / path if path else page
        assert linked.exists(), target
        headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE) if heading else []
        assert not heading or heading in [re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings]

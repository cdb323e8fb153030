"""The public interface: its names, and docs/api.md, whose examples run and which describes every name."""

import doctest
import json
import re
import shutil
import subprocess
import sys
import textwrap
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import cortex
from cortex.core.tables import write_table
from cortex.data.landuse import CLASS_NAMES
from cortex.explain import api
from cortex.explain.average import average_importance
from cortex.extractors.codebook import export_codebook
from cortex.extractors.network import build_extractor, save_extractor
from cortex.judges.judge import build_judge, save_judge
from cortex.judges.stated import StatedJudge
from tests.manifests import leave_strays, list_shards
from tests.pipeline import CHECKOUT

PAGE = CHECKOUT / "docs" / "api.md"
# A public name in the text: it begins a code span, or follows the package's name.
NAME = re.compile(r"`([A-Za-z]\w*)(?=[`(])|cortex\.([A-Za-z]\w*)")


@pytest.fixture(scope="module")
def landuse(tmp_path_factory):
    """A folder with ``results/landuse``: random networks, and twenty test images of the bundled generator."""
    folder = tmp_path_factory.mktemp("api")
    run = folder / "results" / "landuse"
    for name in ("metrics", "data/test/images", "judges"):
        (run / name).mkdir(parents=True)
    settings = {"run": "landuse", "generator": {"family": "taming", "weights": None}, "importance": {"method": ["tis"]}}
    settings["extractors"] = {name: {"network": name, "seeds": 3} for name in ("cnn", "resnet", "transformer")}
    settings["judges"] = {name: {"network": name} for name in ("vit", "resnet")}
    (run / "settings.json").write_text(json.dumps(settings))
    codebook = run / "generator" / "codebook.safetensors"
    codebook.parent.mkdir()
    export_codebook(codebook)
    generator = cortex.load_generator(decode_only=True)
    spec = generator.spec
    torch.manual_seed(0)
    shape = {"channels": spec.channels, "classes": 10, "grid": spec.grid, "width": 8, "hidden": 16, "dropout": 0.0}
    for name, training in product(("cnn", "resnet", "transformer"), ("0", "1", "2")):
        path = run / "extractors" / name / training / "model.safetensors"
        path.parent.mkdir(parents=True)
        save_extractor(path, "cnn", shape, build_extractor("cnn", **shape).state_dict())
    for name in ("vit", "resnet"):
        (run / "judges" / name).mkdir()
        stated = StatedJudge(name, {"classes": 10, "size": 64}, CLASS_NAMES, held_out_top1=0.1)
        save_judge(run / "judges" / name / "model.safetensors", build_judge(name, stated.arguments), stated)
    grids = np.random.default_rng(0).integers(0, spec.codes, (20, *spec.grid))
    keys = [f"test-{label:04d}-{index:06d}" for label in range(10) for index in range(2)]
    images = cortex.Tokens(keys, np.repeat(np.arange(10), 2), grids.reshape(20, -1).astype(np.uint16), spec.grid)
    cortex.write_tokens(run / "data" / "test" / "000000.parquet", images)
    np.save(run / "data" / "test" / "images" / "000000.npy", generator.decode(torch.from_numpy(grids)).numpy())
    list_shards(run, ["test/000000"])
    opened = cortex.open_run(run)
    few = cortex.Importance(samples=2)
    scored = cortex.importance(opened.extractor("cnn"), opened.codebook(), images, few)
    path = run / "importance" / "tis" / "cnn" / "0" / "test" / "000000.parquet"
    path.parent.mkdir(parents=True)
    cortex.write_tokens(path, scored)
    average = run / "importance" / "tis" / "cnn" / "average" / "test" / "000000.parquet"
    average.parent.mkdir(parents=True)
    average_importance(average, [path])
    tokens = run / "tokens" / "tis" / "cnn" / "0.parquet"
    tokens.parent.mkdir(parents=True)
    write_table(tokens, cortex.concept_tokens(scored))
    write_table(run / "metrics" / "image_level.parquet", pa.table({"extractor": ["cnn"]}))
    columns = ["extractor", "training", "split", "k", "accuracy", "accuracy_low", "accuracy_high", "samples"]
    write_table(run / "metrics" / "extractor_accuracy.parquet", pa.table({name: [0] for name in columns}))
    return folder


def test_files_of_an_earlier_run_change_nothing(landuse, tmp_path):
    run = cortex.open_run(landuse / "results" / "landuse")
    folder = shutil.copytree(run.folder, tmp_path / "landuse")
    leave_strays(folder)
    opened = cortex.open_run(folder)
    assert (opened.extractors, opened.judges) == (run.extractors, run.judges)
    assert opened.tokens().keys == run.tokens().keys and len(opened.images()) == len(run.images())
    assert opened.scores("cnn").keys == run.scores("cnn").keys
    expected = run.important_tokens("cnn", top_n=3, split="test")
    assert opened.important_tokens("cnn", top_n=3, split="test").equals(expected)
    with pytest.raises(cortex.InputError, match="no extractor 'cnn/7'"):
        opened.extractor("cnn/7")


@pytest.mark.parametrize(
    "change", [{"importance": {"method": []}}, {"extractors": True}, {"judges": None}, {"generator": 1}]
)
def test_other_settings_are_not_those_of_a_run(landuse, tmp_path, change):
    settings = json.loads((landuse / "results" / "landuse" / "settings.json").read_text())
    for content in (json.dumps(settings | change), "[" * 100_000, "[]"):
        (tmp_path / "settings.json").write_text(content)
        with pytest.raises(cortex.InputError, match=r"settings\.json: not the settings of a run: "):
            cortex.open_run(tmp_path)


def test_the_examples_of_the_page_run(landuse, monkeypatch):
    monkeypatch.chdir(landuse)
    done = doctest.testfile(str(PAGE), module_relative=False)
    assert done.failed == 0 and done.attempted > 25
    assert Path("importance.png").stat().st_size > 1000 and Path("tokens.png").stat().st_size > 1000


def test_the_example_of_the_readme_runs(landuse, monkeypatch):
    example = (CHECKOUT / "README.md").read_text().partition("## Use a run in Python\n\n")[2].partition("\n\n[")[0]
    monkeypatch.chdir(landuse)
    exec(compile(textwrap.dedent(example), "README.md", "exec"), {})


def test_the_average_of_trainings_is_read_like_a_training(landuse):
    run = cortex.open_run(landuse / "results" / "landuse")
    scores, average = (run.scores(name).scores["importance"] for name in ("cnn", "cnn/average"))
    np.testing.assert_array_equal(run.scores("cnn/0").scores["importance"], scores)
    assert run.concept_tokens("cnn/0") == run.concept_tokens("cnn")
    np.testing.assert_allclose(average, scores / scores.std(1, keepdims=True), rtol=1e-5)
    with pytest.raises(cortex.InputError, match="no extractor 'cnn/average'; there are cnn/0, "):
        run.extractor("cnn/average")


def test_the_examples_of_the_docstrings_run(landuse, monkeypatch):
    monkeypatch.chdir(landuse)
    done = doctest.testmod(api, extraglobs={"cortex": cortex})
    assert done.failed == 0 and done.attempted > 3


def test_the_page_describes_every_public_name_and_no_other():
    listed = PAGE.read_text().partition("| task | names |")[2].partition("\n## ")[0]
    names = [
        name for row in re.findall(r"^\| [^|]+ \|(.*)\|$", listed, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]
    assert sorted(names) == sorted(set(dir(cortex)) - {"__version__"})
    described = PAGE.read_text().partition("\n## ")[2]
    assert set(names) <= {first or second for first, second in NAME.findall(described)}
    assert {second for _, second in NAME.findall(described) if second} - {"generators", "report"} <= set(names)


def test_every_public_name_is_there_and_documented():
    for name in cortex.__all__:
        found = getattr(cortex, name)
        assert name == "Count" or (found.__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match="no attribute 'anything'"):
        cortex.anything  # noqa: B018


def test_the_stubs_for_type_checkers_have_the_same_names():
    text = Path(cortex.__file__).read_text()
    stubs = re.findall(r"^    from (cortex\S*) import (\w+) as (\w+)$", text, re.MULTILINE)
    assert all(name == alias for _, name, alias in stubs)
    modules = {name: "cortex.plot" if name == "plot" else module for module, name, _ in stubs}
    assert modules == cortex._PUBLIC


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, cortex; print(sorted({'torch', 'numpy', 'pyarrow', 'pydantic'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

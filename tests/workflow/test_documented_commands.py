"""The commands of README and docs, as they stand there, on small inputs of the names that they take."""

import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cortex.app.cli import main
from cortex.data.digits import digit_images
from cortex.generators.llamagen import sizes as llamagen_sizes
from tests.pictures import png, write_folders, write_table
from tests.pipeline import CHECKOUT, change_config, snakemake
from tests.published import TINY_SIZE
from tests.unit.app.test_plan import checkout  # noqa: F401 (a fixture: a checkout with stand-ins of generators)
from tests.unit.explain.test_authors_scores import source_of, tables_of
from tests.unit.extractors.test_authors_checkpoint import released
from tests.workflow.test_network_families import write_llamagen

PAGES = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted(CHECKOUT.glob("docs/*.md"))]
# What makes a command small, or names inputs that a test has; the last value of an option counts.
SMALLER = {
    "cortex train-judge": "--epochs 1 --batch 16",
    "cortex train-generator": "--size 32 --vqgan-epochs 1 --gpt-epochs 1 --perceptual-weight 0",
    "cortex generator-quality": "--per-class 1",
    "cortex convert-generator": "--grid 8 8",
    "cortex import-extractor": "--grid-height 8 --grid-width 12",
    "cortex import-scores": "--grid-height 2 --grid-width 3",
    "cortex concept-tokens": "--top-n 1 5",  # grids of 6 positions
    "cortex edit": "--to seven",
    "cortex run": "--dry-run",
}


def commands(page):
    """The indented commands of a page, without comments; a line may go on after a backslash."""
    text = page.read_text().replace("\\\n", " ")
    for line in re.findall(r"^    ((?:cortex|snakemake|make) [^\n]*)$", text, re.MULTILINE):
        yield " ".join(shlex.split(line, comments=True))


DOCUMENTED = {page.name: list(commands(page)) for page in PAGES}


def of_tool(tool):
    return sorted({command for page in DOCUMENTED.values() for command in page if command.startswith(f"{tool} ")})


def test_every_tool_has_commands():
    """Or this test would not find the commands."""
    assert len(of_tool("make")) >= 6
    assert len(of_tool("snakemake")) >= 12
    assert len(of_tool("cortex")) >= 10


@pytest.mark.parametrize("command", of_tool("make"))
def test_make_has_the_target(command):
    done = subprocess.run([*command.split(), "--dry-run"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def planned(checkout):  # noqa: F811
    """A checkout for the dry runs: ``mine.yaml``, and 200 pictures of each of two classes."""
    shutil.copy(CHECKOUT / "tests" / "tiny.yaml", checkout / "mine.yaml")
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    write_folders(checkout / "my_folder", [(("ant", "bee")[number % 2], image) for number, image in enumerate(images)])
    return checkout


@pytest.mark.parametrize("command", of_tool("snakemake"))
def test_snakemake_plans_the_jobs(planned, command):
    words = command.replace("path/to/cortex/Snakefile", str(planned / "Snakefile")).split()[1:]
    given = [] if "--configfile" in words else ["--configfile", "config.yaml"]
    done = snakemake(planned, *words, *given, "--dry-run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Job stats" in done.stdout + done.stderr


@pytest.fixture(scope="module")
def desk(tiny_run, planned, tmp_path_factory):
    """A folder with the files that the documented commands of ``cortex`` read, small."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("landuse", "a", "b", "seed1", "seed2", "mine"):
        shutil.copytree(tiny_run / "results/tiny", folder / "results" / name)
    shutil.copytree(planned / "cortex", folder / "cortex")  # some commands write weights beside the code
    images, labels = digit_images("train")
    names = ("one", "seven")
    pictures = [
        (name, image) for name, digit in zip(names, (1, 7), strict=True) for image in images[labels == digit][:32]
    ]
    for name in ("my_folder", "held_out", "hand_signs"):
        write_folders(folder / name, pictures)
    for name in ("train", "test"):
        encoded = [png(image) for _, image in pictures]
        write_table(folder / f"{name}.parquet", encoded, [names.index(label) for label, _ in pictures])
    Image.fromarray(pictures[0][1]).save(folder / "three.png")
    shutil.copy(CHECKOUT / "cortex/generators/taming/bundled/digits.safetensors", folder / "vqgan.safetensors")
    (folder / "llamagen").mkdir()
    write_llamagen(folder / "llamagen")
    (folder / "ClassificationNet1").mkdir()
    released(folder / "ClassificationNet1/best_model.pth", "cnn")
    source_of(folder)
    tables_of(folder)
    methods = re.findall(r"```python\n(.*?)```", (CHECKOUT / "docs" / "extend.md").read_text(), re.DOTALL)
    (folder / "my_methods.py").write_text("\n\n".join(methods))
    shutil.copy(CHECKOUT / "tests" / "tiny.yaml", folder / "mine.yaml")
    change_config(folder / "mine.yaml", {"studies": {"repeats": {"study": "my_methods:REPEATS"}}})
    return folder


@pytest.mark.parametrize("page", [page for page, found in DOCUMENTED.items() if any("cortex " in c for c in found)])
def test_cortex_runs(desk, planned, page, monkeypatch, capsys):
    """The commands of a page after each other: later ones may read what earlier ones wrote."""
    monkeypatch.setitem(llamagen_sizes.SIZES, *TINY_SIZE)
    monkeypatch.setenv("CORTEX_NETWORKS", "")  # a command with --config sets it, and looks for modules beside it
    monkeypatch.setattr(sys, "path", list(sys.path))
    for command in DOCUMENTED[page]:
        if not command.startswith("cortex "):
            continue
        monkeypatch.chdir(planned if command.startswith(("cortex plan", "cortex run")) else desk)
        more = SMALLER.get(" ".join(command.split()[:2]), "")
        words = [*command.replace("class river", "class seven").split()[1:], *more.split()]  # the desk has digits
        if words[0] == "run":  # Snakemake takes the place of the process
            done = subprocess.run([sys.executable, "-m", "cortex", *words], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
        else:
            assert main(words) == 0, f"{command}\n{capsys.readouterr().err}"

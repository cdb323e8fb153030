"""What the Snakefile asks of the package."""

import os

import yaml

from cortex.app.workflow import allow_references, embeddings_state, judge_files
from cortex.config import parse_config
from cortex.data.picture_sources import pictures_state
from cortex.data.settings import ImportedSplit
from cortex.judges.settings import BundledJudge, ImageNetJudge, ViTJudge
from tests.pictures import labelled, write_folders, write_table
from tests.pipeline import CHECKOUT
from tests.training import JUDGE


def test_the_files_of_a_judge_are_told_apart_by_time_and_content(tmp_path):
    """Of pictures, sizes and times count; of small files, the content."""
    root = write_folders(tmp_path / "all", labelled())
    table = write_table(tmp_path / "held_out.parquet", [b""], ["red"])
    (tmp_path / "names.txt").write_text("a")
    of = {"images": str(root), "held_out": str(table), "class_names": str(tmp_path / "names.txt")}
    states = [judge_files(ViTJudge(**JUDGE | of))]
    for path in (next((root / "red").iterdir()), table):
        os.utime(path, (1, 1))
        states.append(judge_files(ViTJudge(**JUDGE | of)))
    (tmp_path / "names.txt").write_text("b")
    states.append(judge_files(ViTJudge(**JUDGE | of)))
    assert len(set(states)) == 4
    os.utime(tmp_path / "names.txt", (1, 1))
    assert judge_files(ViTJudge(**JUDGE | of)) == states[-1]
    assert str(root) in states[0] and str(table) in states[0]


def test_links_that_lead_nowhere_have_no_state_and_stop_nothing(tmp_path):
    """Of embeddings that no row needs, a link may be left; of pictures, the job that reads them tells."""
    for name in ("a.npy", "b.npy"):
        (tmp_path / name).write_bytes(b"1")
    imported = ImportedSplit(source="a.csv", embeddings=str(tmp_path))
    states = [embeddings_state(imported)]
    (tmp_path / "b.npy").unlink()
    (tmp_path / "b.npy").symlink_to("gone.npy")
    states.append(embeddings_state(imported))
    (tmp_path / "b.npy").unlink()
    states.append(embeddings_state(imported))
    assert [state.partition(" ")[0] for state in states] == ["2", "2", "1"] and len(set(states)) == 3
    root = write_folders(tmp_path / "all", labelled())
    before = pictures_state(str(root))
    (root / "red" / "link.png").symlink_to("gone.png")
    assert pictures_state(str(root)) != before


def test_weights_that_a_config_names_are_inputs_of_their_rule(tmp_path):
    assert judge_files(ImageNetJudge(network="resnet18")) == ""
    assert judge_files(BundledJudge(network="landuse_vit", weights=str(tmp_path))) == ""


def test_jobs_may_load_every_network_that_the_config_names(monkeypatch):
    """Of the run, and of studies with extractors of their own."""
    monkeypatch.setenv("CORTEX_NETWORKS", "")
    monkeypatch.syspath_prepend(CHECKOUT / "tests" / "plugin")
    config = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
    mine = {"network": "methods:MLP"}
    config["studies"] = {"bias": {"pairs": {1: 7}, "extractor": mine}}
    allow_references(parse_config(config)[0])
    assert os.environ["CORTEX_NETWORKS"] == "methods:MLP"
    config["studies"] = {"planted": {"positions": 4, "extractors": {"mine": mine | {"seeds": 1}}}}
    allow_references(parse_config(config)[0])
    assert os.environ["CORTEX_NETWORKS"] == "methods:MLP"
    config["studies"] = {}
    allow_references(parse_config(config)[0])
    assert os.environ["CORTEX_NETWORKS"] == ""

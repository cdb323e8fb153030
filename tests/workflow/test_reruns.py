"""Plain ``snakemake`` runs again exactly what a change invalidates: dry runs for every change, some for real."""

import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cortex.core.kept import kept_decisions
from tests.pipeline import change_config, data_of, jobs_in, made, snakemake
from tests.training import JUDGE

# What follows from one extractor's training, how many jobs each (3 importance shards: 2 train, 1 test; 2 judges).
OF_ONE_EXTRACTOR = {
    "train_extractor": 1,
    "importance": 3,
    "concept_tokens": 1,
    "codebook_search": 1,
    "extractor_accuracy": 1,
    "image_level": 2,
    "concept_level": 2,
    "codebook_level": 2,
    "metrics_table": 5,
    "agreement": 1,
    "validity": 1,
    "mean_importance": 1,
    "dictionary": 1,
    "atlas": 1,
}


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A checkout of its own, with the finished tiny run in it."""
    folder = tmp_path_factory.mktemp("reruns") / "checkout"
    shutil.copytree(tiny_run, folder, symlinks=True)
    return folder


@pytest.fixture
def change(run):
    """Change config values or code for one test; everything is put back after it."""
    kept, added = {}, []

    def keep(path):
        kept.setdefault(path, path.read_bytes())

    def config(**sections):
        path = run / "tests" / "tiny.yaml"
        keep(path)
        change_config(path, sections)

    def code(module, before, after):
        path = run / module
        keep(path)
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    def file(name, alter):
        keep(run / name)
        (run / name).write_bytes(alter((run / name).read_bytes()))

    def rename(before, after):
        """Rename a module, in every module that imports it, too."""
        (run / after).write_bytes((run / before).read_bytes())
        added.append(run / after)
        keep(run / before)
        (run / before).unlink()
        names = [name.removesuffix(".py").replace("/", ".") for name in (before, after)]
        for path in (run / "cortex").rglob("*.py"):
            if names[0] in path.read_text():
                code(path.relative_to(run), *names)

    def undo():
        for path, content in kept.items():
            path.write_bytes(content)
        for path in added:
            path.unlink()

    yield SimpleNamespace(config=config, code=code, file=file, rename=rename, undo=undo)
    undo()


def planned(run, *arguments):
    """Jobs that a dry run would do, by rule, reports apart; and all that it says."""
    done = snakemake(run, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    jobs = {rule: count for rule, count in jobs_in(done).items() if not rule.startswith("draw_")}
    return jobs, done.stdout + done.stderr


LEVELS = {"image_level": 6, "concept_level": 6}


def test_nothing_changed(run):
    jobs, said = planned(run)
    assert jobs == {}, said


def test_no_two_parameters_can_change_places(run):
    """Snakemake compares the parameters of a job as a set: a bare number could be hidden by another one."""
    records = [json.loads(path.read_text()) for path in (run / ".snakemake" / "metadata").rglob("*") if path.is_file()]
    assert len(records) > 60
    for record in records:
        bare = [value for value in record["params"] if re.fullmatch(r"-?[0-9.e-]+", value)]
        assert len(bare) < 2, f"{record['rule']}: {bare}"


def test_the_weights_of_the_embedded_generator(run, change):
    change.file(
        "cortex/generators/taming/bundled/digits.safetensors", lambda content: content[:-1] + bytes([content[-1] ^ 1])
    )
    jobs, said = planned(run)
    assert jobs["generate_shard"] == 4, said
    assert "before: 'digits.safetensors: " in said


def test_cores_and_the_readme_do_not_count(run):
    (run / "README.md").write_text("anew")
    jobs, said = planned(run, "--cores", "3")
    assert jobs == {}, said


@pytest.mark.parametrize(
    ("module", "before", "after"),
    [
        pytest.param("__init__", '__version__ = "', '__version__ = "1.', id="version"),
        pytest.param("core/tables", "no such Parquet file", "nobody has written this table", id="message"),
        pytest.param(
            "core/errors", "allowed: {allowed}, and finite", "must be finite and {allowed}", id="shared message"
        ),
        pytest.param("core/progress", "%.1f a second", "%.1f per second", id="log"),
        pytest.param("explain/scores", '"""Compute the token', '"""Anew: compute the token', id="docstring"),
        pytest.param("core/randomness", "def philox(", "# a comment\ndef philox(\n    ", id="comment and formatting"),
        pytest.param("explain/settings", "Field(20, ", "Field(21, ", id="default that the config sets"),
        pytest.param(
            "extractors/__init__", '"cnn": "cortex', '"mlp": "my.mlp:MLP", "cnn": "cortex', id="registry entry"
        ),
    ],
)
def test_changes_that_change_no_result(run, change, module, before, after):
    change.code(f"cortex/{module}.py", before, after)
    jobs, said = planned(run)
    assert jobs == {}, said


def test_a_renamed_module(run, change):
    change.rename("cortex/evaluate/intervals.py", "cortex/evaluate/confidence.py")
    jobs, said = planned(run)
    assert jobs == {}, said


def test_results_that_a_user_keeps(run, change):
    """The decision is on record, and holds for the code that it was made for."""
    record = run / "results" / "tiny" / "code.json"
    change.file(record.relative_to(run), lambda content: content)
    change.code("cortex/explain/importance.py", "gradient.amax(1)", "gradient.amax(dim=1)")
    assert planned(run)[0]["importance"] == 9
    command = ["keep-results", "--config", "tests/tiny.yaml", "--reason", "the same axis, by its name"]
    done = subprocess.run(
        [sys.executable, "-m", "cortex", *command], cwd=run, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"kept: importance with {name} and tis" for name in ("CNN", "ResNet", "Transformer")
    ]
    jobs, said = planned(run)
    assert jobs == {}, said
    (decision,) = kept_decisions(record.parent)
    assert decision["reason"] == "the same axis, by its name"
    assert {kept["stage"] for kept in decision["kept"]} == {"importance"}
    change.code("cortex/explain/importance.py", "gradient.amax(dim=1)", "gradient.amax(axis=1)")
    assert planned(run)[0]["importance"] == 9


def test_a_hyperparameter_of_one_extractor(run, change):
    change.config(extractors={"cnn": {"learning_rate": 2e-3}})
    jobs, said = planned(run)
    assert jobs == OF_ONE_EXTRACTOR | {"report": 1}
    assert "Train extractor cnn/0" in said
    assert "Train extractor resnet/0" not in said
    assert re.search("Params have changed.* now: '.*--learning-rate 0.002 ", said)


def test_the_code_of_one_extractor(run, change):
    change.code("cortex/extractors/resnet.py", "inputs != width", "width != inputs")
    jobs, said = planned(run)
    assert jobs == OF_ONE_EXTRACTOR | {"report": 1}
    assert "Train extractor resnet/0" in said
    assert "before: 'code of train-extractor with ResNet: " in said


@pytest.mark.parametrize("what", ["settings", "results_version", "code"])
def test_the_importance_method(run, change, what):
    if what == "settings":
        change.config(importance={"noise": 0.1})
    elif what == "results_version":
        change.code("cortex/explain/scores.py", "def explain_shard(", "RESULTS_VERSION = 2\n\n\ndef explain_shard(")
    else:
        change.code("cortex/explain/importance.py", "gradient.amax(1)", "gradient.amax(dim=1)")
    jobs, said = planned(run)
    assert jobs == {
        "importance": 9,
        "concept_tokens": 3,
        **LEVELS,
        "metrics_table": 3,
        "agreement": 1,
        "mean_importance": 3,
        "dictionary": 1,
        "atlas": 1,
        "report": 1,
    }, said


@pytest.mark.parametrize("what", ["settings", "code"])
def test_the_codebook_search(run, change, what):
    if what == "settings":
        change.config(codebook_search={"learning_rate": 0.02})
    else:
        change.code("cortex/explain/codebook_search.py", "fused=True", "fused=False")
    jobs, said = planned(run)
    assert jobs == {"codebook_search": 3, "codebook_level": 6, "metrics_table": 2, "atlas": 1, "report": 1}, said


def test_a_judge_added(run, change):
    change.config(judges={"another": JUDGE | {"network": "resnet", "batch": 256}})
    jobs, said = planned(run)
    evaluated = {"judge_accuracy": 1, "image_level": 3, "concept_level": 3, "codebook_level": 3}
    assert jobs == {
        "train_judge": 1,
        **evaluated,
        "metrics_table": 5,
        "validity": 1,
        "mask_codes": 1,
        "place_codes": 1,
        "dictionary": 1,
        "atlas": 1,
        "report": 1,
    }, said


def test_one_more_masking_size(run, change):
    change.config(evaluation={"image_level": {"n": [1, 4, 9]}})
    jobs, said = planned(run)
    assert jobs == {"image_level": 6, "metrics_table": 2, "atlas": 1, "report": 1}, said


def test_more_test_images(run, change):
    change.config(data={"per_class": {"test": 8}})
    jobs, said = planned(run)
    # Of 24 images instead of 12, in shards of 18: the first shard grows, a second one is new.
    assert jobs == {
        "generate_shard": 2,
        "read_tokens": 2,
        "decode_images": 2,
        "manifest": 1,
        "importance": 6,
        "codebook_search": 3,
        "extractor_accuracy": 3,
        "judge_accuracy": 2,
        "image_level": 12,
        "concept_level": 12,
        "codebook_level": 6,
        "metrics_table": 6,
        "agreement": 1,
        "validity": 1,
        "describe_patches": 1,
        "describe_codes": 1,
        "mask_codes": 2,
        "place_codes": 2,
        "dictionary": 1,
        "atlas": 1,
        "report": 1,
    }, said
    assert "of the train split" not in said


def test_the_seed_of_the_data(run, change):
    change.config(seed=2)
    jobs, said = planned(run)
    everything, _ = planned(run, "--forceall")
    not_of_the_data = {"train_judge", "export_codebook"}
    assert jobs == {rule: count for rule, count in everything.items() if rule not in not_of_the_data}, said


def test_a_plot(run, change):
    change.code("cortex/report/figures/style.py", "dpi=130", "dpi=131")
    jobs, said = planned(run)
    assert jobs == {"report": 1}, said


@pytest.mark.slow
def test_for_real(run, change):
    """Three changes made, run, and taken back: the results are those of the first run, to the last bit."""
    before = data_of(run / "results" / "tiny")
    change.config(
        evaluation={"image_level": {"n": [1, 4, 9]}},
        codebook_search={"learning_rate": 0.02},
        extractors={"cnn": {"learning_rate": 2e-3}},
    )
    made(run)
    assert planned(run)[0] == {}
    changed = {path for path, data in data_of(run / "results" / "tiny").items() if data != before.get(path)}
    each = "evaluation/image_level/tis/resnet/0/vit/000000.parquet", "codebook/resnet/0.parquet"
    assert changed >= {*each, "extractors/cnn/0/model.safetensors", "importance/tis/cnn/0/test/000000.parquet"}
    change.undo()
    made(run)
    assert data_of(run / "results" / "tiny") == before

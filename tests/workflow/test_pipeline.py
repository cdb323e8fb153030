"""The whole pipeline at its smallest, run for real by Snakemake."""

import json
import re
import shutil
import subprocess

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from cortex.data.shard_reader import read_shard
from tests.pipeline import change_config, copy_checkout, data_of, made, snakemake

MASKING = "probability probability_change logit logit_change masked_fraction masked_brightness unmasked_probability"
SEARCH = (
    "source_probability_before source_probability_after source_logit_before source_logit_after"
    " target_probability_before target_probability_after target_logit_before target_logit_after"
)


def with_intervals(measures):
    return " ".join(f"{measure} {measure}_low {measure}_high" for measure in measures.split())


COLUMNS = {
    "data/manifest.parquet": "split shard path samples bytes sha256",
    "data/test/000000.parquet": "key label tokens",
    "extractors/cnn/0/history.parquet": "epoch learning_rate train_loss val_loss val_top1 seconds",
    "importance/tis/resnet/0/train/000001.parquet": "key label tokens predicted importance",
    "tokens/tis/transformer/0.parquet": "label top_n list rank token count share",
    "tokens/frequency.parquet": "label list rank token count share",
    "codebook/cnn/0.parquet": "key method step source target positions tokens logit_before logit_after",
    "metrics/extractor_accuracy.parquet": "extractor training split k accuracy accuracy_low accuracy_high samples",
    "metrics/judge_accuracy.parquet": "judge split k accuracy accuracy_low accuracy_high samples",
    "metrics/image_level.parquet": f"attribution extractor training judge method n samples {with_intervals(MASKING)}",
    "metrics/concept_level.parquet": "attribution extractor training judge method list top_n area samples"
    f" {with_intervals('tokens ' + MASKING)}",
    "metrics/codebook_level.parquet": f"attribution extractor training judge method samples {with_intervals(SEARCH)}",
    "metrics/agreement.parquet": "attribution extractor training other_extractor other_training measure list top_n n"
    " units value low high",
    "metrics/validity.parquet": "kind name training accuracy low high chance valid",
    "metrics/comparisons.parquet": "level attribution extractor training judge method baseline list area setting label"
    " pairs difference low high effect_size p p_corrected verdict",
}


def test_every_output_is_there_with_its_columns(tiny_run):
    results = tiny_run / "results" / "tiny"
    for name, columns in COLUMNS.items():
        assert pq.read_schema(results / name).names == columns.split(), name
    assert (results / "report.html").stat().st_size > 10_000
    assert not [path for path in results.rglob("*") if path.name.endswith(".part")]


def test_every_table_opens_elsewhere_and_says_where_it_came_from(tiny_run):
    for path in (tiny_run / "results" / "tiny").rglob("*.parquet"):
        rows = pq.read_metadata(path).num_rows
        assert rows > 0, path
        assert len(pd.read_parquet(path)) == len(pl.read_parquet(path)) == rows
        assert duckdb.sql(f"select count(*) from '{path}'").fetchall() == [(rows,)]
        metadata = pq.read_schema(path).metadata
        assert metadata[b"cortex.run"] == b"tiny"
        assert metadata[b"cortex.seed"] == b"1"
        assert len(metadata[b"cortex.config_sha256"]) == 64
        assert json.loads(metadata[b"cortex.packages"])["torch"]


def test_classes_are_balanced_in_every_split(tiny_run):
    results = tiny_run / "results" / "tiny"
    manifest = pd.read_parquet(results / "data" / "manifest.parquet")
    assert manifest.groupby("split")["samples"].sum().to_dict() == {"train": 36, "validation": 18, "test": 12}
    for row in manifest.itertuples():
        names = subprocess.check_output(["tar", "tf", results / "data" / row.path], text=True).split()
        labels = [name.split("-")[1] for name in names if name.endswith(".cls")]
        assert {labels.count(label) for label in ("0001", "0002", "0007")} == {row.samples // 3}


def test_metrics_are_the_means_of_the_rows(tiny_run):
    results = tiny_run / "results" / "tiny"
    metrics = pd.read_parquet(results / "metrics" / "image_level.parquet")
    # a training and all of them × extractors × judges and their mean × methods × n
    assert len(metrics) == 2 * 3 * (2 + 1) * 4 * 2
    for row in metrics.itertuples():  # all trainings are one
        place = results / "evaluation" / "image_level" / row.attribution / row.extractor / "0"
        judges = [row.judge] if isinstance(row.judge, str) else ["vit", "resnet"]
        files = [file for judge in judges for file in (place / judge).glob("*.parquet")]
        rows = pd.concat(pd.read_parquet(file) for file in files)
        rows = rows[(rows["method"] == row.method) & (rows["n"] == row.n)]
        assert len(rows) == len(judges) * row.samples == len(judges) * 12
        unmasked = rows["probability"].mean() - rows["probability_change"].mean()
        assert unmasked == pytest.approx(row.unmasked_probability, abs=1e-6)
        assert rows["probability_change"].mean() == pytest.approx(row.probability_change, abs=1e-6)
        assert rows["masked_fraction"].mean() == pytest.approx(row.masked_fraction, abs=1e-6)
        assert rows["masked_brightness"].mean() == pytest.approx(row.masked_brightness, abs=1e-6)
        for measure in MASKING.split():
            assert getattr(row, f"{measure}_low") <= getattr(row, measure) <= getattr(row, f"{measure}_high")


def test_comparisons_are_differences_of_the_metrics(tiny_run):
    folder = tiny_run / "results" / "tiny" / "metrics"
    comparisons = pd.read_parquet(folder / "comparisons.parquet")
    assert comparisons["verdict"].isna().all(), "one training gives no verdict"
    comparisons = comparisons[comparisons["training"] == 0]
    overall = comparisons[comparisons["label"].isna()]
    # image level: extractors × judges × baselines × n; concept level: × lists × (tokens, area); codebook level
    assert len(overall) == 3 * 2 * 3 * 2 + 3 * 2 * 2 * 2 + 3 * 2
    assert len(comparisons) == len(overall) + 3 * (36 + 24) + 2 * 6  # three classes, two of them sources of the search
    metrics = pd.read_parquet(folder / "image_level.parquet")
    metrics = metrics[metrics["training"] == 0].set_index(["extractor", "judge", "method", "n"])
    for row in overall[overall["level"] == "image_level"].itertuples():
        mine, theirs = (
            metrics.loc[(row.extractor, row.judge, method, row.setting), "probability_change"]
            for method in ("importance", row.baseline)
        )
        assert row.difference == pytest.approx(mine - theirs, abs=1e-6)
        assert row.low <= row.difference <= row.high
        assert row.pairs == 12


def test_every_job_was_run_by_the_job_server_and_says_what_it_cost(tiny_run):
    folder = tiny_run / "results" / "tiny" / "benchmarks"
    costs = {str(path.relative_to(folder)): pd.read_csv(path, sep="\t") for path in folder.rglob("*.tsv")}
    server = costs.pop("job_server.tsv")
    assert (server["cpu_seconds"] == server["start_up_seconds"]).all()
    records = [
        json.loads(path.read_text()) for path in (tiny_run / ".snakemake" / "metadata").rglob("*") if path.is_file()
    ]
    jobs = {record["job_hash"] for record in records}
    assert len(costs) == len(jobs) > 60
    for name, cost in costs.items():
        assert (tiny_run / "results" / "tiny" / name.removesuffix(".tsv")).exists()
        assert 0 < cost["start_up_seconds"].item() < min(1, cost["cpu_seconds"].item()), name


@pytest.mark.slow
def test_jobs_that_run_by_themselves_compute_the_same(tiny_run, tmp_path, monkeypatch):
    """Whatever it takes to judge one extractor by one judge."""
    folder, long = copy_checkout(tmp_path), tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))  # too long for the path of a socket: there is no server
    masked = (f"{level}/tis/cnn/0/vit/000000" for level in ("image_level", "concept_level"))
    made(folder, *(f"results/tiny/evaluation/{rows}.parquet" for rows in (*masked, "codebook_level/cnn/0/vit")))
    assert not (folder / "results" / "tiny" / "benchmarks" / "job_server.tsv").exists()
    there, expected = (data_of(run / "results" / "tiny") for run in (folder, tiny_run))
    assert len(there) > 20
    assert there == {name: expected[name] for name in there}


def test_a_second_run_has_nothing_to_do(tiny_run):
    again = snakemake(tiny_run)
    assert again.returncode == 0, again.stderr
    assert "Nothing to be done" in again.stdout + again.stderr


def test_a_lost_shard_comes_back_byte_for_byte(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "copy", symlinks=True)
    shard = tmp_path / "copy" / "results" / "tiny" / "data" / "train" / "000001.tar"
    before = shard.read_bytes()
    shard.unlink()
    done = snakemake(tmp_path / "copy", "results/tiny/data/train/000001.tar")
    assert done.returncode == 0, done.stderr
    assert shard.read_bytes() == before


def test_images_are_kept_as_configured(tmp_path):
    config = copy_checkout(tmp_path) / "tests" / "tiny.yaml"
    change_config(config, {"data": {"images": {"train": "none", "validation": "webp", "test": "jpeg"}}})
    planned = snakemake(tmp_path, "--dry-run", "--printshellcmds", "results/tiny/report.html")
    assert planned.returncode == 0, planned.stderr
    kept = dict(re.findall(r"--split (\S+) .* --images (.*?) &>", planned.stdout))
    assert kept == {"train": "none", "validation": "webp --quality 95", "test": "jpeg --quality 95"}
    assert "--shard results/tiny/data/validation/000000.tar" in planned.stdout, "patches come from images that are kept"


def test_the_run_on_its_own_grids_exported_and_imported(tiny_run, tmp_path):
    """Each split in another form; what trainings and evaluations read of it is the same, to the last byte."""
    folder, drawn = copy_checkout(tmp_path), tiny_run / "results" / "tiny" / "data"
    packed = {split: np.load(drawn / split / "grids.npy") for split in ("train", "validation")}
    shards = sorted((drawn / "test").glob("*.tar"))
    test = [sample for shard in shards for sample in read_shard(shard, images=True)]
    train = packed["train"]
    lists = [str(grid.ravel().tolist()) for grid in train["grid"]]
    names = [f"{row}.npy" for row in range(len(train))]
    pd.DataFrame({"filename": names, "label": train["label"], "indices": lists}).to_csv(
        folder / "train_embeddings.csv", index=False
    )
    validation = {"label": packed["validation"]["label"], "grid": packed["validation"]["grid"].tolist()}
    pd.DataFrame(validation).to_parquet(folder / "validation.parquet")
    np.save(folder / "grids.npy", np.stack([sample.grid for sample in test]))
    np.save(folder / "labels.npy", [sample.label for sample in test])
    sources = {
        "train": {"source": "train_embeddings.csv"},
        "validation": {"source": "validation.parquet"},
        "test": {"source": "grids.npy", "labels": "labels.npy"},
    }
    images = {"train": "none", "validation": "none"}
    change_config(folder / "tests" / "tiny.yaml", {"data": {"imports": sources, "images": images}})

    data = folder / "results" / "tiny" / "data"
    done = snakemake(folder, *(f"results/tiny/data/{name}" for name in ("manifest.parquet", "train/grids.npy")))
    assert done.returncode == 0, done.stderr
    assert (data / "train" / "grids.npy").read_bytes() == (drawn / "train" / "grids.npy").read_bytes()
    listed = [pq.read_table(of / "manifest.parquet").select(["split", "shard", "samples"]) for of in (data, drawn)]
    assert listed[0] == listed[1]
    again = [sample for shard in shards for sample in read_shard(data / "test" / shard.name, images=True)]
    for one, other in zip(again, test, strict=True):
        assert (one.key, one.label, one.grid.tolist()) == (other.key, other.label, other.grid.tolist())
        assert np.abs(one.image.astype(int) - other.image).max() <= 1
    everything = snakemake(folder, "--dry-run")
    assert everything.returncode == 0, everything.stderr
    assert "generate_shard" not in everything.stdout
    np.save(folder / "labels.npy", [sample.label for sample in test[::-1]])
    planned = snakemake(folder, "--dry-run", "results/tiny/data/manifest.parquet").stdout
    assert "import_test" in planned and "import_train" not in planned, "a source that changed is imported again"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": {"per_class": {"test": 0}}}, "data.per_class.test = 0"),
        ({"evaluatoin": {"batch": 1}}, "evaluatoin: unknown key; allowed here: run, seed"),
        ({"codebook_search": {"region": {"top": 6}}}, "codebook_search.region = rows 6 to 9"),
        ({"data": {"images": {"test": "none"}}}, "data.images.test = 'none': should be 'png', 'jpeg' or 'webp'"),
        ({"data": {"classes": [1, 12]}}, "data.classes = 12: the generator has classes 0 to 9"),
    ],
)
def test_a_wrong_config_stops_before_any_job_is_planned(tmp_path, settings, message):
    change_config(copy_checkout(tmp_path) / "tests" / "tiny.yaml", settings)
    done = snakemake(tmp_path)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Job stats" not in done.stdout + done.stderr
    assert not (tmp_path / "results").exists()


def test_a_key_that_a_config_gives_twice_stops_before_any_job_is_planned(tmp_path):
    config = copy_checkout(tmp_path) / "tests" / "tiny.yaml"
    lines = config.read_text().splitlines()
    first, last = lines.index("extractors:") + 1, len(lines) + 1
    config.write_text("\n".join([*lines, "extractors: {}"]))
    done = snakemake(tmp_path)
    assert done.returncode != 0
    assert f"tests/tiny.yaml: key 'extractors' stands in lines {first} and {last}; allowed: once" in done.stderr
    assert not (tmp_path / "results").exists()

"""The workflow on a real SLURM, of this machine alone: tests/slurm.sh starts and stops it."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml

from cortex.app.workflow import judge_training_mb
from cortex.config import parse_config
from tests.pipeline import CHECKOUT, change_config, copy_checkout, data_of, jobs_in, snakemake

SCRIPT = CHECKOUT / "tests" / "slurm.sh"
PROFILE = ["--profile", "profiles/slurm"]
# This SLURM has no accounts, and need not be asked as seldom as a busy one.
HASTE = ["--slurm-no-account", "--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10"]
ON_THE_CLUSTER = {
    "generate_shard", "manifest", "read_tokens", "decode_images", "pack_grids", "export_codebook", "train_extractor",
    "train_judge", "importance", "concept_tokens", "frequent_tokens", "codebook_search", "extractor_accuracy",
    "judge_accuracy", "image_level", "concept_level", "codebook_level", "metrics_table", "pictures", "report",
}  # fmt: skip


@pytest.fixture(scope="module")
def slurm():
    """A running SLURM. Where there can be none, the tests are skipped, but never in continuous integration."""
    possible = subprocess.run([SCRIPT, "check"], capture_output=True, text=True, check=False)
    if possible.returncode and not os.environ.get("CI"):
        pytest.skip(possible.stderr.strip())
    try:
        subprocess.run([SCRIPT, "start"], check=True)
        yield
    finally:
        subprocess.run([SCRIPT, "stop"], check=True)


def checkout_in(folder):
    """A copy of the checkout, with a second, smaller config that has a run name of its own."""
    copy_checkout(folder)
    settings = yaml.safe_load((folder / "tests" / "tiny.yaml").read_text())
    small = {"run": "other", "data": settings["data"] | {"per_class": {"train": 2, "validation": 2, "test": 2}}}
    (folder / "tests" / "other.yaml").write_text(yaml.safe_dump(settings | small))
    return folder


def start(folder, *arguments):
    """Start snakemake on the cluster; what it says goes to a file."""
    command = [sys.executable, "-m", "snakemake", *PROFILE, *HASTE, *arguments, "--configfile", "tests/tiny.yaml"]
    with open(folder / "said.txt", "w") as said:
        return subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)


def slurm_jobs():
    """All jobs that SLURM knows of, as it describes them: JobId, Comment (the rules), JobState, TRES, ..."""
    shown = subprocess.run(["scontrol", "show", "jobs", "--oneliner"], capture_output=True, text=True, check=True)
    return [dict(re.findall(r"(\w+)=(\S+)", line)) for line in shown.stdout.splitlines() if line.startswith("JobId=")]


def jobs_of(rule):
    return [job for job in slurm_jobs() if re.search(rf"_{rule}(_|$)", job["Comment"])]


def wait_for(what, seconds=120):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.5)
    return found


@pytest.fixture(scope="module")
def run(slurm, tmp_path_factory):
    """The tiny run, made on the cluster, during which: one of its jobs is cancelled; the same run is started again, on
    the cluster and without; another run is made in the same checkout."""
    folder = checkout_in(tmp_path_factory.mktemp("slurm"))
    tiny = start(folder)
    try:
        running = wait_for(lambda: [job for job in jobs_of("train_judge") if job["JobState"] == "RUNNING"])
        subprocess.run(["scancel", running[0]["JobId"]], check=True)
        other = ["results/other/data/manifest.parquet", "--configfile", "tests/other.yaml"]
        story = SimpleNamespace(
            folder=folder,
            cancelled=running[0],
            again=snakemake(folder, *PROFILE, *HASTE),
            other=snakemake(folder, *PROFILE, *HASTE, *other),
            # Snakemake's own locks are gone now: the first of several runs to end removes them all.
            after_other=snakemake(folder),
            still_running=tiny.poll() is None,
            returncode=tiny.wait(timeout=900),
            said=(folder / "said.txt").read_text(),
        )
    finally:
        tiny.kill()
    story.jobs = slurm_jobs()
    return story


@pytest.mark.slow
def test_the_results_are_those_of_a_run_without_slurm(run, tiny_run):
    assert run.returncode == 0, run.said
    assert (run.folder / "results" / "tiny" / "report.html").stat().st_size > 10_000
    assert data_of(run.folder / "results" / "tiny") == data_of(tiny_run / "results" / "tiny")


@pytest.mark.slow
def test_the_work_went_through_sbatch(run):
    name = re.search(r"SLURM run ID: (\S+)", run.said)[1]
    jobs = [job for job in run.jobs if job["JobName"] == name]
    submitted = re.findall(r"submitted with SLURM jobid (\d+)", run.said)
    assert sorted(submitted) == sorted(job["JobId"] for job in jobs)
    comments = " ".join(job["Comment"] for job in jobs)
    assert {rule for rule in ON_THE_CLUSTER if rule not in comments} == set()
    # All the rest is fast and small; and many small jobs are few of SLURM's.
    assert len(jobs) < 45
    assert [job["JobState"] for job in jobs if job != run.cancelled].count("COMPLETED") == len(jobs) - 1


@pytest.mark.slow
def test_a_cancelled_job_comes_back_with_more(run):
    first, second = [job for job in run.jobs if job["Comment"] == run.cancelled["Comment"]]
    assert [first["JobState"], second["JobState"]] == ["CANCELLED", "COMPLETED"]
    config, spec = parse_config(yaml.safe_load((run.folder / "tests" / "tiny.yaml").read_text()))
    kept = {judge_training_mb(judge, device="cpu", classes=len(spec.class_names)) for judge in config.judges.values()}
    asked = [[f"{round(attempt * (4000 + mb))}M" for attempt in (1, 2)] for mb in kept]
    assert [first["MinMemoryNode"], second["MinMemoryNode"]] in asked
    assert [first["TimeLimit"], second["TimeLimit"]] == ["04:00:00", "08:00:00"]


@pytest.mark.slow
def test_jobs_that_share_a_submission_ask_for_what_one_needs(run):
    together = [job for job in run.jobs if job["Comment"].startswith("rule_importance_")]
    assert len(together) == 3
    for job in together:
        assert job["NumCPUs"] == "1"
        assert job["MinMemoryNode"] == "4000M"
    # Nine jobs of an hour, at most four of them in a submission, one after another.
    hours = [int(job["TimeLimit"].partition(":")[0]) for job in together]
    assert sum(hours) == 9 and max(hours) == 4


@pytest.mark.slow
def test_the_same_run_is_refused_and_another_is_not(run):
    for refused in (run.again, run.after_other):
        assert refused.returncode != 0
        assert "Another Snakemake is working on run 'tiny'" in refused.stderr
        assert "submitted" not in refused.stderr
    assert run.other.returncode == 0, run.other.stderr
    manifest = pq.read_table(run.folder / "results" / "other" / "data" / "manifest.parquet")
    assert sum(manifest["samples"].to_pylist()) == 3 * 2 * 3
    assert run.still_running


@pytest.mark.slow
def test_what_ended_unseen_is_on_record(slurm, tiny_run, tmp_path):
    """Snakemake is killed after a job of a changed config ended on the node, but before it saw that."""
    folder = tmp_path / "checkout"
    shutil.copytree(tiny_run, folder, symlinks=True)
    before = data_of(folder / "results" / "tiny")
    config = folder / "tests" / "tiny.yaml"
    settings = config.read_text()
    change_config(config, {"codebook_search": {"learning_rate": 0.02}})
    known = {job["JobId"] for job in slurm_jobs()}
    search = "results/tiny/codebook/cnn/0.parquet"
    going = start(folder, search, "--slurm-init-seconds-before-status-checks", "600")
    try:
        ended = lambda job: job["JobState"] == "COMPLETED" and job["JobId"] not in known  # noqa: E731
        wait_for(lambda: [job for job in jobs_of("codebook_search") if ended(job)], seconds=500)
        going.kill()
        assert going.wait(timeout=60) != 0
    finally:
        going.kill()
    assert "1 of 1 steps" not in (folder / "said.txt").read_text()
    # With the new settings it is valid, with the old ones it is not.
    assert jobs_in(snakemake(folder, "--dry-run", search)) == {}
    config.write_text(settings)
    assert jobs_in(snakemake(folder, "--dry-run", search)) == {"codebook_search": 1}
    assert snakemake(folder).returncode == 0
    assert data_of(folder / "results" / "tiny") == before


@pytest.mark.slow
def test_a_gpu_is_asked_for_where_the_config_computes_on_one(slurm, tmp_path):
    folder = checkout_in(tmp_path)
    profile = folder / "profiles" / "slurm" / "config.yaml"
    text = profile.read_text()
    for before, after in (
        ("# slurm_partition: cpu,gpu", "slurm_partition: test"),
        ("# gpu_model: a100", "gpu_model: test"),
    ):
        assert before in text
        text = text.replace(before, after)
    profile.write_text(text)
    config = folder / "tests" / "tiny.yaml"
    config.write_text("device: cuda\n" + config.read_text())
    # This GPU does not exist, so the training fails; what was asked for counts.
    wanted = ["results/tiny/generator/codebook.safetensors", "results/tiny/judges/vit/model.safetensors"]
    before = {job["JobId"] for job in slurm_jobs()}
    assert start(folder, "--retries", "0", *wanted).wait(timeout=120) != 0
    asked = {
        job["Comment"].removeprefix("rule_"): job["TresPerJob"] for job in slurm_jobs() if job["JobId"] not in before
    }
    assert asked == {"export_codebook": "gres:gpu:test:0", "train_judge_wildcards_vit": "gres:gpu:test:1"}


def test_a_job_refuses_a_config_that_was_changed_since_its_run_began(tmp_path, monkeypatch):
    monkeypatch.setenv("CORTEX_PROVENANCE", json.dumps({"config_sha256": "another"}))
    done = snakemake(copy_checkout(tmp_path), "--mode", "remote", "results/tiny/generator/codebook.safetensors")
    assert done.returncode != 0
    assert "The config was changed while its run was going on" in done.stderr
    assert not (tmp_path / "results").exists()

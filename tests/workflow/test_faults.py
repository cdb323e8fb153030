"""Faults, injected for real: kills, a full disk, damaged files. Each ends with what an undisturbed run makes."""

import contextlib
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from random import Random

import psutil
import pyarrow.parquet as pq
import pytest

from cortex.app.cli import main
from tests.pipeline import CORES, change_config, copy_checkout, data_of, jobs_in, snakemake

MOMENTS = ["while it plans", "when a file appears", "some time later", "when a file appears", "some time later"] * 4
FINAL = (".tar", ".parquet", ".npy", ".safetensors", ".png", ".svg", ".html")


def outputs(folder):
    """Files of a checkout's run under their final names, each with the time when it was written."""
    found = {}
    for path in (folder / "results").rglob("*"):
        if path.suffix in FINAL:
            with contextlib.suppress(FileNotFoundError):  # it goes before it is made again
                found[path.relative_to(folder)] = path.stat().st_mtime_ns
    return found


def assert_all_is_whole(folder, undisturbed):
    """Whatever has its final name is what it would be at the end."""
    there = data_of(folder / "results" / "tiny")
    for name, data in there.items():
        assert data == undisturbed[name], name


def assert_finished(folder, tiny_run):
    assert data_of(folder / "results" / "tiny") == data_of(tiny_run / "results" / "tiny")
    assert outputs(folder).keys() == outputs(tiny_run).keys()
    assert not list(folder.rglob("*.part"))


# --- kills -------------------------------------------------------------------------------------------------------


def wait_for(happened, process, seconds=300):
    end = time.monotonic() + seconds
    while not happened():
        assert process is None or process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def run_until_killed(folder, moment, random, said):
    """Start the run, and kill all of its processes at some moment. Just when a file has got its name, Snakemake does
    not know of it yet."""
    before, files = outputs(folder).keys(), random.randint(1, 4)
    command = [sys.executable, "-m", "snakemake", "--cores", str(CORES), "--configfile", "tests/tiny.yaml"]
    with open(said, "w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=file, start_new_session=True)
    try:
        if moment != "while it plans":
            wait_for(lambda: len(outputs(folder).keys() - before) >= files, process)
        if moment != "when a file appears":
            time.sleep(random.uniform(0, 2))
        assert process.poll() is None, said.read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_a_run_killed_at_twenty_moments_and_started_again_each_time(tiny_run, tmp_path):
    folder, random = copy_checkout(tmp_path), Random(1)
    undisturbed = data_of(tiny_run / "results" / "tiny")
    for number, moment in enumerate(MOMENTS):
        run_until_killed(folder, moment, random, tmp_path / f"said-{number}.txt")
        assert_all_is_whole(folder, undisturbed)
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr
    assert_finished(folder, tiny_run)
    again = snakemake(folder)
    assert "Nothing to be done" in again.stdout + again.stderr


def processes_in(folder, module=""):
    """Processes that work in a folder, with a command line that names a module."""
    processes = psutil.process_iter(["cwd", "cmdline"])
    return [p for p in processes if p.info["cwd"] == str(folder) and module in " ".join(p.info["cmdline"] or ())]


def test_an_interrupted_run_leaves_no_process(tmp_path):
    """Ctrl-C in a terminal reaches Snakemake and its jobs' processes at once."""
    folder = copy_checkout(tmp_path)
    change_config(folder / "tests" / "tiny.yaml", {"judges": {"vit": {"network": "vit", "epochs": 10_000}}})
    command = [sys.executable, "-m", "snakemake", "judges", "--cores", "2", "--configfile", "tests/tiny.yaml"]
    with open(tmp_path / "said.txt", "w") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, start_new_session=True)
    wait_for(lambda: len(processes_in(folder, "cortex.app.job_server")) == 3, process)  # the server, and both judges
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    process.wait(60)
    wait_for(lambda: not processes_in(folder), None, seconds=20)
    assert not list((folder / "results" / "tiny" / "judges").rglob("model.safetensors"))


# --- a full disk -------------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path):
    """A checkout whose results are on a small disk, and a function that sets how many KiB are free on it. Where none
    can be mounted, no file may be larger than that. The logs are on another disk: there is always room for an error.
    """
    folder, logs = tmp_path / "checkout", tmp_path / "logs"
    results = folder / "results"
    for new in (folder, logs, results):
        new.mkdir()
    copy_checkout(folder)
    mounted = not subprocess.run(["mount", "-t", "tmpfs", "none", results], capture_output=True, check=False).returncode
    (results / "tiny").mkdir()
    (results / "tiny" / "logs").symlink_to(logs)

    def leave(kib):
        if mounted:
            used = shutil.disk_usage(results).used // 1024
            subprocess.run(["mount", "-o", f"remount,size={used + kib}k", results], check=True)
        else:
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (kib * 1024, hard))

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield folder, leave
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    if mounted:
        subprocess.run(["umount", results], check=True)


FULL = r"\[Errno 2[78]\] (?:No space left on device|File too large): '{0}'|{0}: .*\(os error 2[78]\)"


@pytest.mark.slow
def test_a_run_on_a_full_disk_says_so_and_goes_on_once_there_is_room(tiny_run, disk):
    folder, leave = disk
    undisturbed = data_of(tiny_run / "results" / "tiny")
    for kib in (200, 300):
        leave(kib)
        done = snakemake(folder)
        assert done.returncode != 0
        errors = [line for line in done.stderr.splitlines() if re.match(r"cortex [\w-]+: error: ", line)]
        assert errors, done.stderr
        for line in errors:
            assert re.fullmatch(f"cortex [\\w-]+: error: (?:{FULL.format('results/tiny/[^:]+')})", line)
        assert "Traceback" not in done.stderr
        assert_all_is_whole(folder, undisturbed)
        assert not list(folder.rglob("*.part"))
    leave(100_000)
    done = snakemake(folder)
    assert done.returncode == 0, done.stderr
    assert_finished(folder, tiny_run)


# --- damage ------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tiny_run, tmp_path):
    """A checkout of the test's own, with the finished tiny run in it."""
    return shutil.copytree(tiny_run, tmp_path / "checkout", symlinks=True)


@pytest.fixture(scope="module")
def commands(tiny_run):
    """By stage, the words of one of its commands as Snakemake runs them."""
    planned = snakemake(tiny_run, "--dry-run", "--forceall", "--printshellcmds")
    lines = re.findall(r"python -m cortex (.+) &> ", planned.stdout + planned.stderr)
    return {line.split()[0]: expanded(line) for line in lines}


def expanded(line):
    """The words of a command as bash passes them on."""
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True).stdout
    return said.removesuffix("\0").split("\0")


def input_files(words, endings):
    """What a command reads of the files with these endings."""
    written = [words[place + 1] for place, word in enumerate(words) if word in OUTPUT_OPTIONS]
    named = [word.rpartition("=")[2] for word in words if word.endswith(endings) and word not in written]
    return list(dict.fromkeys(named))


OUTPUT_OPTIONS = ("--output", "--history", "--by-n", "--by-area")


def cut(path):
    """Early: a stage that needs a shard's first images only does not read on."""
    path.write_bytes(path.read_bytes()[: 1300 if path.suffix == ".tar" else path.stat().st_size // 2])


def flip_a_bit(path):
    """In a tar, of the first image's tokens; in a table, of the data of every column."""
    content = bytearray(path.read_bytes())
    places = [content.find(b"NUMPY") + 127] if path.suffix == ".tar" else []
    if path.suffix == ".parquet":
        columns = pq.read_metadata(path).row_group(0).to_dict()["columns"]
        starts = [column["dictionary_page_offset"] or column["data_page_offset"] for column in columns]
        places = [start + c["total_compressed_size"] - 1 for start, c in zip(starts, columns, strict=True)]
    for place in places:
        content[place] ^= 1
    path.write_bytes(content)


def remove_a_member(path):
    """The first image's tokens."""
    rest = path.with_suffix(".rest")
    with tarfile.open(path) as tar, tarfile.open(rest, "w") as less:
        first = next(name for name in tar.getnames() if name.endswith("tokens.npy"))
        for member in tar:
            if member.name != first:
                less.addfile(member, tar.extractfile(member))
    rest.replace(path)


@pytest.mark.parametrize(
    ("damage", "endings"), [(cut, (".tar", ".parquet")), (flip_a_bit, (".tar", ".parquet")), (remove_a_member, ".tar")]
)
def test_every_stage_refuses_a_damaged_file_by_name(commands, finished, damage, endings, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    refused = set()
    for stage, words in commands.items():
        for name in input_files(words, endings):
            path = finished / name
            kept, there = path.read_bytes(), outputs(finished)
            try:
                damage(path)
                assert main(words) == 1, f"{stage} took {name}"
            finally:
                path.write_bytes(kept)
            said = capsys.readouterr().err.splitlines()
            assert said[-1].startswith(f"cortex {stage}: error: {name}: "), said[-1]
            assert {path for path, time in outputs(finished).items() - there.items()} == {path.relative_to(finished)}
            refused.add(stage)
    assert len(refused) == (4 if endings == ".tar" else 32)


def test_every_file_is_asked_for_so_that_none_is_missed_when_it_is_deleted(tiny_run):
    """Snakemake does not miss a file as long as what was made of it is there, unless a target needs it.

    Pictures of the atlas are in its folder, which its page stands for.
    """
    said = snakemake(tiny_run, "--dry-run", "--forceall")
    asked_for = re.search(r"^(?:local)?rule all:\n    input: (.+)$", said.stdout + said.stderr, re.MULTILINE)[1]
    assert set(asked_for.split(", ")) >= {str(name) for name in outputs(tiny_run) if "sheets" not in name.parts}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "damage", "targets", "jobs"),
    [
        (
            "data/test/000000.tar",
            flip_a_bit,
            ["data/test/000000.tar", "data/manifest.parquet", "metrics/judge_accuracy.parquet"],
            {
                "generate_shard": 1,
                "manifest": 1,
                "decode_images": 1,
                "judge_accuracy": 2,
                "read_tokens": 1,
                "metrics_table": 1,
            },
        ),
        (
            "importance/tis/cnn/0/test/000000.parquet",
            cut,
            [],
            {"importance": 1, "image_level": 2, "metrics_table": 2, "agreement": 1, "atlas": 1, "report": 1},
        ),
    ],
)
def test_what_is_damaged_is_named_and_once_deleted_made_again(name, damage, targets, jobs, finished, tiny_run, capsys):
    results = finished / "results" / "tiny"
    damage(results / name)
    assert main(["verify", str(results)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(results / name), "Not looked at"]
    (results / name).unlink()
    done = snakemake(finished, *(f"results/tiny/{target}" for target in targets))
    assert done.returncode == 0, done.stderr
    assert {rule: count for rule, count in jobs_in(done).items() if not rule.startswith("draw_")} == jobs
    assert data_of(results) == data_of(tiny_run / "results" / "tiny")
    assert main(["verify", str(results)]) == 0

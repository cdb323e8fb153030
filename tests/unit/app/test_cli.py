"""The command line: what it offers, how it explains itself, and how it fails."""

import dataclasses
import importlib
import inspect
import os
import re
import signal
import subprocess
import sys
import time
from typing import get_type_hints

import pyarrow as pa
import pytest
import yaml
from pydantic import BaseModel

from cortex.app.cli import all_commands, main
from cortex.core.tables import write_table
from cortex.data.draw import Stretch, generate_shard
from cortex.data.manifest import SCHEMA as MANIFEST
from cortex.data.settings import ImageFiles
from cortex.generators.sampling import Sampling
from tests.pipeline import CHECKOUT

TARGETS = {name: target for phase in all_commands().values() for name, (target, _) in phase.items()}


def run(arguments, capsys):
    """Exit status, standard output and standard error of a command."""
    try:
        status = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


# --- what it offers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_overview_lists_every_command_by_phase(arguments, capsys):
    status, output, errors = run(arguments, capsys)
    assert (status, errors) == (0, "")
    assert re.findall(r"^([a-z][a-z ]*)$", output, re.MULTILINE) == list(all_commands())
    assert [line.split()[0] for line in output.splitlines() if line.startswith("  ")] == list(TARGETS)
    assert all(len(line.split()) >= 4 for line in output.splitlines() if line.startswith("  ")), (
        "each says what it does"
    )


def options_of(text):
    """Explanation of every option by its name, from the text of a help page."""
    _, _, table = text.partition(" options ")
    explained, name = {}, None
    for row in table.splitlines():
        line = row.strip(" │─╭╮╰╯")  # a box, where the terminal can print one
        if re.fullmatch(r"\W*[\w.-]+ options\W*", row):  # the title of another box, whose subject follows
            name = None
        kinds = r"\{None\}\|\{\[.*\]\}|\{[^}]+\}(?:\|\{?\S+(?: INT\})?)?|\[.*\]|INT(?: INT)+|[A-Z]+"
        if match := re.match(rf"--([a-z][a-z0-9-]*)(?: (?:{kinds})(?=\s|$))?(.*)", line):
            name, line = match.groups()
        if name is not None:
            explained[name] = (explained.get(name, "") + " " + line).strip()
    return {name: re.sub(r"\s*\((required|default: .*)\)$", "", text) for name, text in explained.items()}


def fields_of(section):
    """Fields of a section and of the sections in it, with their descriptions."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields_of(field.annotation)
        else:
            yield name, field.description


def documentation(function):
    """A command's options, and the words that explain them: its own, and those of its settings' sections."""
    names, words = [], [inspect.getdoc(function)]
    kinds = get_type_hints(function)
    for parameter in inspect.signature(function).parameters.values():
        section = kinds[parameter.name]
        if isinstance(section, type) and issubclass(section, BaseModel):
            for name, description in fields_of(section):
                names.append(name)
                words.append(description)
        elif dataclasses.is_dataclass(section):
            names += [field.name for field in dataclasses.fields(section)]
            words.append(inspect.getdoc(section))
        else:
            names.append(parameter.name)
    return [name.replace("_", "-") for name in names], re.sub(r"\s+", " ", " ".join(words))


@pytest.mark.parametrize("command", TARGETS)
def test_help_explains_every_parameter_in_the_words_of_the_function(command, capsys):
    module, _, name = TARGETS[command].partition(":")
    function = getattr(importlib.import_module(module), name)
    status, output, _ = run([command, "--help"], capsys)
    assert status == 0
    first_line = inspect.getdoc(function).splitlines()[0]
    assert first_line in output
    options = options_of(output)
    parameters, documented = documentation(function)
    # Arguments without a name on the command line.
    unnamed = {"verify": ["results"], "compare": ["runs"], "run": ["targets"], "show": ["what", "name"]}
    for argument in unnamed.get(command, []):
        beginning = "(?:folders?|rules|token|number)"
        (explanation,) = re.findall(rf"{argument}: ({beginning} .*?)(?:\.| output:| config:| name:)", documented)
        assert explanation in re.sub(r"[\s│]+", " ", output)
        parameters.remove(argument)
    assert set(options) == set(parameters)
    for parameter in parameters:
        assert len(options[parameter].split()) >= 2, f"--{parameter} is explained"
        assert options[parameter].rstrip(".") in documented


def test_the_help_of_an_option_is_read_right():
    """The parser above, on a page as tyro prints it."""
    page = (
        "╭─ options ───╮\n"
        "│ --top-k {None}|INT │\n"
        "│        draw from the k most probable; all   │\n"
        "│        if not given. (default: None) │\n"
        "│ --n [INT [INT ...]]   │\n"
        "│        how many. (required)   │\n"
        "│ --seed INT   of the noise. (default: 0) │\n"
        "│ --region INT INT INT INT   top and so on. (required) │\n"
        "│ --bare INT   (required) │\n"
        "╰─────────────╯"
    )
    assert options_of(page) == {
        "top-k": "draw from the k most probable; all if not given.",
        "n": "how many.",
        "seed": "of the noise.",
        "region": "top and so on.",
        "bare": "",
    }


# --- what it does ------------------------------------------------------------------------------------------------


def test_a_command_is_its_function(generator_weights, tmp_path, capsys):
    by_hand, by_command = tmp_path / "hand.tar", tmp_path / "command.tar"
    stretch, sampling = Stretch("test", 1, 5, seed=3, classes=[0, 2]), Sampling(top_p=0.9)
    generate_shard(by_hand, stretch, sampling=sampling, keep=ImageFiles(), generator=generator_weights, device="cpu")
    options = "--split test --first 1 --last 5 --seed 3 --classes 0 2 --top-p 0.9 --device cpu"
    arguments = ["generate-shard", "--output", by_command, *options.split(), "--generator", generator_weights]
    assert run(arguments, capsys)[0] == 0
    assert by_command.read_bytes() == by_hand.read_bytes()


# --- how it fails ------------------------------------------------------------------------------------------------


def test_an_unknown_command_is_named(capsys):
    status, output, errors = run(["explane", "--seed", "1"], capsys)
    assert (status, output) == (2, "")
    assert errors.splitlines()[0] == "cortex: error: no command 'explane'"
    assert all(command in errors for command in TARGETS)


@pytest.mark.parametrize(
    "arguments",
    [
        ["manifest"],
        ["manifest", "--output", "a", "--shards", "b", "--colour", "red"],
        ["pack-grids", "--output", "a", "--shards", "b", "--codes", "many"],
        ["generate-shard", "--split", "dev"],
    ],
)
def test_wrong_options_stop_with_the_status_of_wrong_usage(arguments, capsys):
    status, output, errors = run(arguments, capsys)
    assert (status, output) == (2, "")
    assert f"cortex {arguments[0]} --help" in errors


@pytest.fixture
def broken(tmp_path, generator_weights):
    """A folder of files that end too early."""
    (tmp_path / "cut.safetensors").write_bytes(generator_weights.read_bytes()[:9000])
    stretch = Stretch("test", 0, 2, seed=0, classes=[0, 1])
    options = {"sampling": Sampling(), "keep": ImageFiles(), "generator": generator_weights, "device": "cpu"}
    generate_shard(tmp_path / "000000.tar", stretch, **options)
    (tmp_path / "cut.tar").write_bytes((tmp_path / "000000.tar").read_bytes()[:2000])
    write_table(tmp_path / "whole.parquet", pa.table({"key": ["k"], "method": ["importance"]}))
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:200])
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY\x01\x00")
    return tmp_path


METRICS = "metrics --attributions None --extractors cnn --judges vit --by method --measures logit --tables"


@pytest.mark.parametrize(
    ("command", "file", "message"),
    [
        ("export-codebook --generator", "none.safetensors", "no such weights file"),
        ("export-codebook --generator", "cut.safetensors", "not a whole safetensors file"),
        ("tokens --codes 24 --shard", "none.tar", "no such shard"),
        ("tokens --codes 24 --shard", "cut.tar", "member '.*': the tar ends inside it"),
        (
            "tokens --codes 1 --shard",
            "000000.tar",
            r"member test-0000-000000\.tokens\.npy: token \d+; allowed: 0 to 0",
        ),
        ("frequent-tokens --codes 24 --tokens 5 --grids", "none.npy", "no such file of packed grids"),
        ("frequent-tokens --codes 24 --tokens 5 --grids", "cut.npy", "not a whole npy file"),
        (METRICS, "none.parquet", "no such Parquet file"),
        (METRICS, "cut.parquet", "not a whole Parquet file"),
        (METRICS, "whole.parquet", r"no column 'logit'; it has 'key', 'method'"),
        ("draw-masking --metrics", "whole.parquet", r"no column 'attribution', 'extractor', 'judge', .* and 6 more;"),
        ("draw-codebook-level --metrics", "whole.parquet", "no column 'attribution', 'extractor', 'judge', "),
    ],
)
def test_a_bad_file_is_named_in_one_line(command, file, message, broken, capsys):
    name, *options = command.split()
    output = broken / "output"
    status, printed, errors = run([name, *options, broken / file, "--output", output], capsys)
    assert (status, printed) == (1, "")
    assert re.fullmatch(rf"cortex {name}: error: {re.escape(str(broken / file))}: {message}.*\n", errors)
    assert not output.exists()


def test_the_name_of_a_file_may_hold_an_end_of_line(tmp_path, capsys):
    status, _, errors = run(
        ["tokens", "--codes", "24", "--shard", "a\nb.tar", "--output", tmp_path / "t.parquet"], capsys
    )
    assert status == 1 and errors == "cortex tokens: error: a\\nb.tar: no such shard\n"


def test_an_output_that_cannot_be_written_is_named(broken, capsys):
    shard = broken / "000000.tar"
    arguments = ["tokens", "--codes", "24", "--shard", shard, "--output", shard / "tokens.parquet"]
    status, _, errors = run(arguments, capsys)
    assert status == 1 and errors == (
        f"cortex tokens: error: {shard}/tokens.parquet: {shard} is a file; a folder is needed there\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        "export-codebook --output",
        "write-tokenizer --classes ant --output",
        "manifest --shards {folder}/000000.tar --output",
        "tokens --codes 24 --shard {folder}/000000.tar --output",
        "generate-shard --split test --first 0 --last 1 --seed 0 --classes 0 --device cpu --output",
        "document --schema {folder}/schema.json --page",
        "document --page {folder}/page.md --schema",
    ],
)
def test_an_output_that_is_no_regular_file_is_named_and_stays(command, broken, capsys):
    os.mkfifo(broken / "node")
    words = command.format(folder=broken).split()
    status, _, errors = run([*words, broken / "node"], capsys)
    *_, line = errors.splitlines()  # progress is told before
    assert (status, line) == (
        1,
        f"cortex {words[0]}: error: {broken}/node: a device, FIFO or socket; allowed: a regular file, or a new one",
    )
    assert (broken / "node").is_fifo()


def test_a_key_of_the_keyboard_stops_in_one_line_and_leaves_no_folder(tmp_path, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cortex.core.weights.save_file", interrupted)
    status, printed, errors = run(["export-codebook", "--output", tmp_path / "new" / "codebook.safetensors"], capsys)
    assert (status, printed, errors) == (130, "", "cortex: stopped\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [0.3, 1, 3])
def test_a_key_of_the_keyboard_stops_a_process_at_any_time(seconds, tmp_path):
    """While modules are imported, and at work."""
    words = ["generate-shard", "--output", f"{tmp_path}/new/000000.tar", "--split", "test", "--first", "0"]
    words += ["--last", "100000", "--seed", "0", "--classes", "0", "--device", "cpu"]
    start = "import runpy, signal; signal.signal(2, signal.default_int_handler);"  # it may be ignored here
    start += "print(flush=True); runpy.run_module('cortex', None, '__main__')"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode in (130, -signal.SIGINT), "as any shell says of both: 130"
    assert [line for line in said.splitlines() if "drawing" not in line] in ([], ["cortex: stopped"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["cortex.app.job_client", "cortex.app.cli", "cortex.app.verify"])
def test_a_key_of_the_keyboard_stops_the_import_of_any_module(module, tmp_path):
    start = "import runpy, sys\nclass Pressed:\n    def find_spec(self, name, *_):\n"
    start += f"        if name == {module!r}:\n            raise KeyboardInterrupt\n"
    start += "sys.meta_path.insert(0, Pressed())\nrunpy.run_module('cortex', None, '__main__')"
    command = [sys.executable, "-c", start, "verify", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "cortex: stopped\n")


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["verify", "{folder}"]])
def test_a_pipe_that_is_closed_ends_a_command_without_a_word(arguments, tmp_path):
    write_table(tmp_path / "data" / "manifest.parquet", pa.Table.from_pylist([], MANIFEST))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "cortex", *(word.format(folder=tmp_path) for word in arguments)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "verifying" not in line]) == (141, [])


def test_a_process_ends_without_a_traceback(tmp_path):
    command = [
        sys.executable,
        "-m",
        "cortex",
        "manifest",
        "--output",
        tmp_path / "m",
        "--shards",
        tmp_path / "none.tar",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"cortex manifest: error: {tmp_path}/none.tar: a shard's name is its number, as in train/000000.tar\n"
    )


STUDY = """
from pathlib import Path
import cortex

def count(output: Path) -> None:
    '''Count.

    Args:
        output: file to write.
    '''
    output.write_text("counted")

STUDY = cortex.Study(settings=cortex.StudySettings, commands={"count-mine": ("own_count:count", "count mine")})
"""


def test_a_config_before_the_command_brings_the_commands_of_its_studies(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("CORTEX_NETWORKS", "")
    (tmp_path / "own_count.py").write_text(STUDY)
    config = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config | {"studies": {"mine": {"study": "own_count:STUDY"}}}))
    assert main(["count-mine", "--output", "counted"]) == 2
    assert main(["--config", "mine.yaml", "count-mine", "--output", "counted"]) == 0
    assert (tmp_path / "counted").read_text() == "counted"
    capsys.readouterr()
    assert main(["--config", "mine.yaml", "--help"]) == 0
    assert "  count-mine            count mine" in capsys.readouterr().out


def test_a_config_that_is_wrong_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text("run: mine")
    for path, told in (("gone.yaml", "gone.yaml"), ("mine.yaml", "extractors: missing; it must be set")):
        assert main(["--config", str(tmp_path / path), "plan"]) == 1
        error = capsys.readouterr().err
        assert told in error and error.startswith("cortex: error: ") and error.count("\n") == 1
    assert main(["--config"]) == 1
    assert capsys.readouterr().err == "cortex: error: --config: no value; allowed: the config file of a run\n"


def test_an_option_of_yes_or_no_may_stand_without_a_value(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("os.execv", lambda program, command: seen.append("--dry-run" in command))
    (tmp_path / "mine.yaml").touch()
    for words in (["--dry-run"], ["--dry-run", "True"], ["--dry-run=True"], ["--dry-run", "False"], []):
        assert main(["run", *words, "--config", str(tmp_path / "mine.yaml")]) == 0
    assert main(["run", "--config", str(tmp_path / "mine.yaml"), "--dry-run"]) == 0
    assert seen == [True, True, True, False, False, True]

"""An interrupted training goes on to the same weights, and never from another training's state."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.extractors import train
from cortex.extractors.settings import CnnSettings
from tests.pipeline import change_config, snakemake
from tests.training import arguments_of, run_training

# The command, whose process is sent a signal when it looks embeddings up for the n-th time. An epoch of the tiny data
# does so 7 times: for 5 steps, and for 2 batches of validation.
INTERRUPTED = """
import os, signal, sys
from cortex.app.cli import main
from cortex.extractors import train

look_up, calls = train.look_up, 0

def counted(*arguments):
    global calls
    calls += 1
    if calls == {call}:
        os.kill(os.getpid(), signal.{signal})
    return look_up(*arguments)

train.look_up = counted
sys.exit(main(sys.argv[1:]))
"""
DROPOUT = {"dropout": 0.3}


def interrupt(arguments, sent, call):
    script = INTERRUPTED.format(signal=sent, call=call)
    return subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)


def content(output, history):
    """Bytes of the weights, and the history without what measures time."""
    return output.read_bytes(), history.drop(["seconds"]).to_pylist()


@pytest.fixture
def folder(tmp_path):
    """A folder to be interrupted in."""
    (tmp_path / "interrupted").mkdir()
    return tmp_path / "interrupted"


# The call at which the signal comes, and where the training stood: the state of SIGTERM is that of the step that was
# being computed, of SIGKILL that of the last whole epoch.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sent", "call", "status", "epoch", "step"),
    [
        ("cnn", "SIGTERM", 7 + 3, 143, 2, 3),
        ("cnn", "SIGKILL", 7 + 3, -9, 2, 0),
        ("resnet", "SIGTERM", 7 + 6, 143, 2, 5),  # in validation
        ("transformer", "SIGTERM", 2, 143, 1, 2),
        ("transformer", "SIGKILL", 14 + 5, -9, 3, 0),
        ("transformer float16", "SIGTERM", 7 + 2, 143, 2, 2),
    ],
)
def test_it_goes_on_to_the_same_weights(tmp_path, folder, tiny_data, caplog, name, sent, call, status, epoch, step):
    name, *precision = name.split()
    settings = DROPOUT | {"precision": precision[0] if precision else "float32"}
    undisturbed = content(*run_training(tmp_path, tiny_data, name, **settings))
    stopped = interrupt(arguments_of(folder, tiny_data, name, **settings), sent, call)
    assert stopped.returncode == status, stopped.stderr
    state = folder / f"{name}.state"
    assert [path.name for path in folder.iterdir()] == [state.name]
    if sent == "SIGTERM":
        said = f"cortex train-extractor: stopped: in epoch {epoch}, after {step} of its 5 steps; the same command goes "
        assert stopped.stderr.splitlines()[-1] == f"{said}on from there, by {state}"
        assert "Traceback" not in stopped.stderr
    caplog.set_level("INFO")
    assert content(*run_training(folder, tiny_data, name, **settings)) == undisturbed
    assert f"goes on from {state}: epoch {epoch}, after {step} of its steps" in caplog.text
    assert not state.exists()


@pytest.mark.slow
def test_interrupted_again_and_again_it_comes_to_the_same_weights(tmp_path, folder, tiny_data):
    undisturbed = content(*run_training(tmp_path, tiny_data, "transformer", **DROPOUT))
    arguments = arguments_of(folder, tiny_data, "transformer", **DROPOUT)
    for name, call in (("SIGTERM", 3), ("SIGKILL", 3), ("SIGTERM", 7)):
        assert interrupt(arguments, name, call).returncode in (143, -9)
    assert content(*run_training(folder, tiny_data, "transformer", **DROPOUT)) == undisturbed


@pytest.fixture
def interrupted(folder, tiny_data, monkeypatch):
    """A folder with the state of a CNN's training that was stopped after its first epoch."""

    def run_epoch(training, *arguments, **options):
        if training.epoch == 2:
            raise KeyboardInterrupt
        return whole_epoch(training, *arguments, **options)

    whole_epoch = train.run_epoch
    monkeypatch.setattr(train, "run_epoch", run_epoch)
    with pytest.raises(KeyboardInterrupt):
        run_training(folder, tiny_data, "cnn")
    monkeypatch.setattr(train, "run_epoch", whole_epoch)
    return folder


def anew(tmp_path, folder, data, caplog, **changes):
    """What the log says of the state in a folder, where a training starts anew and comes to what it would without."""
    caplog.set_level("INFO")
    clean = content(*run_training(tmp_path, data, "cnn", **changes))
    assert str(folder) not in caplog.text
    assert content(*run_training(folder, data, "cnn", **changes)) == clean
    assert not (folder / "cnn.state").exists()
    (said,) = [line for line in caplog.messages if str(folder) in line]
    assert said.endswith("starts anew") or "starts anew: " in said
    return said


@pytest.mark.parametrize(
    "changes", [{"learning_rate": 2e-2}, {"seed": 4}, {"epochs": 2}, {"dropout": 0.1}, {"precision": "bfloat16"}]
)
def test_state_of_other_settings_is_not_gone_on_from(tmp_path, interrupted, tiny_data, caplog, changes):
    (name,) = changes
    said = anew(tmp_path, interrupted, tiny_data, caplog, **changes)
    assert f"cnn.state belongs to a training that differs in {name}; this one starts anew" in said


@pytest.mark.parametrize("what", ["train", "validation", "codebook"])
def test_state_of_other_data_is_not_gone_on_from(tmp_path, interrupted, tiny_data, caplog, what):
    if what == "codebook":
        tensors, _ = read_weights(tiny_data[what])
        write_weights(tiny_data[what], {"codebook": tensors["codebook"] * 2}, {})
    else:
        packed = np.load(tiny_data[what])
        packed["grid"][3, 4, 5] = (packed["grid"][3, 4, 5] + 1) % 4
        np.save(tiny_data[what], packed)
    assert f"differs in {what};" in anew(tmp_path, interrupted, tiny_data, caplog)


def test_state_of_other_code_is_not_gone_on_from(tmp_path, interrupted, tiny_data, caplog, monkeypatch):
    monkeypatch.setattr("cortex.extractors.state.code_fingerprint", lambda *modules: f"other code of {modules}")
    assert "differs in code;" in anew(tmp_path, interrupted, tiny_data, caplog)


@pytest.mark.parametrize("damage", ["cut", "cut to nothing", "no state", "another's weights", "a state of nothing"])
def test_a_file_that_is_no_whole_state_is_not_gone_on_from(tmp_path, interrupted, tiny_data, caplog, damage):
    state = interrupted / "cnn.state"
    whole = state.read_bytes()
    if damage == "cut":
        state.write_bytes(whole[:-100])
    elif damage == "cut to nothing":
        state.write_bytes(b"")
    elif damage == "no state":
        write_weights(state, {}, {})
    elif damage == "another's weights":
        state.write_bytes(tiny_data["codebook"].read_bytes())
    else:
        write_weights(state, {}, {"identity": "[]"})
    assert "is no training's state" in anew(tmp_path, interrupted, tiny_data, caplog)


def test_state_that_names_this_training_but_is_damaged_is_an_error(interrupted, tiny_data):
    state = interrupted / "cnn.state"
    tensors, metadata = read_weights(state)
    del tensors["0"]
    write_weights(state, tensors, metadata)
    with pytest.raises(InputError, match=r"cnn.state: damaged; delete it"):
        run_training(interrupted, tiny_data, "cnn")


def test_every_setting_counts(interrupted, tiny_data):
    """An argument that is added to train_extractor is part of what its state is known by."""
    _, metadata = read_weights(interrupted / "cnn.state")
    names = set(train.train_extractor.__annotations__) - {"return", "output", "history", "settings"}
    names |= CnnSettings.model_fields.keys() - {"seeds", "gpus"}
    assert json.loads(metadata["identity"]).keys() == names | {"code", "torch", "processes"}


def test_a_loss_that_is_not_finite_is_told_with_its_step(tmp_path, tiny_data, monkeypatch, capsys):
    """A network that breaks at the 4th step of epoch 2: all later steps are lost too, the first is told."""
    look_up, calls = train.look_up, []

    def breaking(codebook, grids):
        calls.append(None)
        return look_up(codebook, grids) * (float("nan") if len(calls) >= 7 + 4 else 1)

    monkeypatch.setattr(train, "look_up", breaking)
    assert main(arguments_of(tmp_path, tiny_data, "cnn")) == 1
    errors = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"cortex train-extractor: error: the loss is nan in epoch 2 at step 4 of 5; try .*", errors[-1])


@pytest.mark.slow
def test_a_pre_empted_job_of_the_workflow_goes_on(tiny_run, tmp_path):
    """SIGTERM to Snakemake and all of its jobs, as SLURM sends it; then a plain rerun."""
    model = "results/tiny/extractors/cnn/0/model.safetensors"
    folders = tmp_path / "undisturbed", tmp_path / "preempted"
    for folder in folders:
        shutil.copytree(tiny_run, folder, symlinks=True)
        change_config(folder / "tests" / "tiny.yaml", {"extractors": {"cnn": {"epochs": 60, "batch": 2}}})
    undisturbed, folder = folders
    assert snakemake(undisturbed, model).returncode == 0

    written = folder / "results" / "tiny" / "logs" / "train_extractor" / "cnn" / "0.log"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "tests/tiny.yaml", "--", model]
    with open(tmp_path / "said.txt", "w") as said:
        run = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, start_new_session=True)
    while "epoch 9: " not in (written.read_text() if written.exists() else ""):
        assert run.poll() is None, (tmp_path / "said.txt").read_text()
        time.sleep(0.01)
    os.killpg(run.pid, signal.SIGTERM)
    assert run.wait(timeout=60) != 0
    while "stopped: in epoch" not in written.read_text():
        time.sleep(0.01)
    epoch, step = re.search(r"stopped: in epoch (\d+), after (\d+) of its 18 steps", written.read_text()).groups()
    assert not (folder / model).exists() and (folder / model).with_suffix(".state").exists()

    done = snakemake(folder, model)
    assert done.returncode == 0, done.stderr
    assert f"model.state: epoch {epoch}, after {step} of its steps" in written.read_text()
    assert (folder / model).read_bytes() == (undisturbed / model).read_bytes()
    assert not (folder / model).with_suffix(".state").exists()

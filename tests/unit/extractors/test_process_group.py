"""Several processes train what one process trains: torchrun's, on CPUs."""

import re
import subprocess
import sys

import pytest
import torch

from cortex.core.tables import read_table
from cortex.core.weights import read_weights
from cortex.extractors.network import load_extractor
from tests.parallel_worker import train_all
from tests.pipeline import CHECKOUT
from tests.training import SMALL, arguments_of, run_training

pytestmark = pytest.mark.slow

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def torchrun(processes, *arguments):
    command = [*TORCHRUN, str(processes), *map(str, arguments)]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=240)


def test_steps_of_several_processes_are_those_of_one(tmp_path, tiny_data):
    """41 images, three processes. Of batches of 7 they take 3, 2 and 2, and 2 each of the last; in batches of 13, the
    last batch has 2 images, and nothing for the last process."""
    batches = (7, 13)
    for batch in batches:
        train_all(tmp_path / "one" / str(batch), tiny_data["train"], batch)
    done = torchrun(3, "-m", "tests.parallel_worker", tmp_path / "several", tiny_data["train"], *batches)
    assert done.returncode == 0, done.stderr
    for name in (f"{batch}/{network}" for batch in batches for network in SMALL):
        (expected, _), (found, _) = read_weights(tmp_path / "one" / name), read_weights(tmp_path / "several" / name)
        assert found.keys() == expected.keys()
        for weight, value in expected.items():
            torch.testing.assert_close(found[weight], value, rtol=1e-4, atol=1e-5, msg=f"{name}: {weight}")


def test_the_command_trains_in_several_processes(tmp_path, tiny_data):
    settings = {"epochs": 2, "dropout": 0.0, "learning_rate": 1e-4}
    _, history = run_training(tmp_path, tiny_data, "cnn", **settings)
    folder = tmp_path / "several"
    done = torchrun(2, "-m", "cortex", *arguments_of(folder, tiny_data, "cnn", **settings))
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"epoch 2: train loss", done.stderr)) == 1
    assert sorted(path.name for path in folder.iterdir()) == ["cnn.parquet", "cnn.safetensors"]
    rows = read_table(folder / "cnn.parquet")
    for column in ("train_loss", "val_loss", "val_top1", "learning_rate"):
        assert rows[column].to_pylist() == pytest.approx(history[column].to_pylist(), rel=1e-3), column
    load_extractor(folder / "cnn.safetensors", torch.device("cpu"))


INTERRUPTED = """
import os, signal, sys
from cortex.app.cli import main
from cortex.extractors import train

look_up, calls = train.look_up, 0

def counted(*arguments):
    global calls
    calls += 1
    if calls == 7 + 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    return look_up(*arguments)

train.look_up = counted
sys.exit(main(sys.argv[1:]))
"""


def test_several_processes_stop_together_and_go_on_to_the_same_weights(tmp_path, tiny_data):
    """SIGTERM comes to one of them; each goes on with its own dropout."""
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    undisturbed, interrupted = (
        arguments_of(tmp_path / folder, tiny_data, "transformer", dropout=0.3)
        for folder in ("undisturbed", "interrupted")
    )
    assert torchrun(2, "-m", "cortex", *undisturbed).returncode == 0
    stopped = torchrun(2, str(tmp_path / "interrupted.py"), *interrupted)
    assert stopped.returncode != 0
    assert stopped.stderr.count("cortex train-extractor: stopped: in epoch 2, after 3 of its 5 steps") == 2
    gone_on = torchrun(2, "-m", "cortex", *interrupted)
    assert gone_on.returncode == 0, gone_on.stderr
    assert gone_on.stderr.count("epoch 2, after 3 of its steps") == 1
    weights, others = (tmp_path / folder / "transformer.safetensors" for folder in ("undisturbed", "interrupted"))
    assert weights.read_bytes() == others.read_bytes()
    rows, others = (
        read_table(tmp_path / folder / "transformer.parquet").drop(["seconds"]).to_pylist()
        for folder in ("undisturbed", "interrupted")
    )
    assert rows == others

"""Networks of other packages: named by a reference or by an entry point, trained, saved and loaded like our own."""

import json
import sys

import pytest
import torch

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.extractors import EXTRACTORS, extractor_settings
from cortex.extractors.network import build_extractor, check_reads, load_extractor, load_with_codebook
from cortex.extractors.settings import ExtractorSettings, StepTraining, WarmUpTraining
from cortex.extractors.train import optimizer_of
from tests.pipeline import CHECKOUT
from tests.training import arguments_of, run_training

MLP = "methods:MLP"
CPU = torch.device("cpu")
SETTINGS = {"hidden": 16, "epochs": 2}


@pytest.fixture(autouse=True)
def plugin(monkeypatch):
    """The other package, which Python can import; no file may ask for it yet."""
    monkeypatch.syspath_prepend(CHECKOUT / "tests" / "plugin")
    monkeypatch.delenv("CORTEX_NETWORKS", raising=False)


@pytest.mark.parametrize("name", EXTRACTORS.names())
def test_our_networks_have_the_settings_that_are_found_without_them(name):
    assert EXTRACTORS.load(name).Settings is extractor_settings(name)
    assert issubclass(extractor_settings(name), ExtractorSettings)


@pytest.mark.parametrize("name", EXTRACTORS.names())
def test_a_networks_shape_is_what_its_constructor_takes(name):
    taken = set(EXTRACTORS.load(name).__init__.__annotations__) - {"return"}
    assert taken == extractor_settings(name).shape | {"channels", "classes", "grid"}


def test_a_network_from_elsewhere_is_trained_and_loaded(tmp_path, tiny_data, monkeypatch):
    output, history = run_training(tmp_path, tiny_data, MLP, **SETTINGS)
    assert history["train_loss"][1].as_py() < history["train_loss"][0].as_py()
    stated = json.loads(read_weights(output)[1]["extractor"])
    assert stated == {
        "network": MLP,
        "settings": {"channels": 5, "classes": 3, "grid": [8, 8], "hidden": 16},
    }
    with pytest.raises(
        InputError, match=r"safetensors: its extractor is 'methods:MLP', which is imported only if .* CORTEX_NETWORKS"
    ):
        load_extractor(output, CPU)
    monkeypatch.setenv("CORTEX_NETWORKS", "other:Class methods:MLP")
    network, _ = load_with_codebook(output, tiny_data["codebook"], CPU)
    assert network(torch.randn(2, 5, 8, 8)).shape == (2, 3)
    check_reads(output, (8, 8), 2)
    with pytest.raises(InputError, match="knows the classes 0 to 2; here is class 3"):
        check_reads(output, (8, 8), 3)


def test_an_interrupted_training_of_it_goes_on(tmp_path, tiny_data, monkeypatch, caplog):
    """The state is kept by what the network's code and settings are."""
    whole = run_training(tmp_path, tiny_data, MLP, **SETTINGS)[0].read_bytes()

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cortex.extractors.train.save_extractor", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_training(tmp_path, tiny_data, MLP, **SETTINGS)
    caplog.set_level("INFO")
    assert run_training(tmp_path, tiny_data, MLP, **SETTINGS)[0].read_bytes() == whole
    assert "epoch 3, after 0 of its steps" in caplog.text


def test_the_command_trains_it(tmp_path, tiny_data):
    assert main(arguments_of(tmp_path, tiny_data, MLP, **SETTINGS)) == 0
    by_command = (tmp_path / f"{MLP}.safetensors").read_bytes()
    assert run_training(tmp_path, tiny_data, MLP, **SETTINGS)[0].read_bytes() == by_command


def test_a_file_imports_no_code_by_itself(tmp_path, monkeypatch, capsys):
    """Neither code that is not there yet, nor what Python has imported already."""
    (tmp_path / "hostile.py").write_text("from pathlib import Path\nPath(__file__).with_suffix('.executed').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "model.safetensors"
    for reference, arguments in (("hostile:Network", {}), ("os:system", {"command": f"touch {tmp_path}/executed"})):
        write_weights(path, {}, {"extractor": json.dumps({"network": reference, "settings": arguments})})
        with pytest.raises(
            InputError, match=rf"model.safetensors: its extractor is '{reference}', which is imported only if"
        ):
            load_extractor(path, CPU)
    assert "hostile" not in sys.modules
    assert not list(tmp_path.glob("*executed"))
    import hostile  # noqa: F401

    assert list(tmp_path.glob("*executed")), "the trap was armed"


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ("cnnn", r"model.safetensors: extractor 'cnnn': allowed: cnn, cnn_deep, resnet, transformer$"),
        ("a\nb:C", r"model.safetensors: extractor 'a\\nb:C': allowed: cnn, "),
    ],
)
def test_a_name_that_is_none_is_told_with_the_file(tmp_path, network, told):
    write_weights(tmp_path / "model.safetensors", {}, {"extractor": json.dumps({"network": network, "settings": {}})})
    with pytest.raises(InputError, match=told):
        load_extractor(tmp_path / "model.safetensors", CPU)


def test_an_entry_point_is_a_name_that_files_may_state(tmp_path, tiny_data, monkeypatch):
    installed = tmp_path / "site" / "methods-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: methods\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[cortex.extractors]\nmlp = methods:MLP\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(EXTRACTORS, "_plug_ins", None)  # as in a new process
    assert EXTRACTORS.names() == ["cnn", "cnn_deep", "resnet", "transformer", "mlp"]
    assert extractor_settings("mlp").__name__ == "MlpSettings"
    output, _ = run_training(tmp_path, tiny_data, "mlp", **SETTINGS)
    assert type(load_extractor(output, CPU)).__name__ == "MLP"


class Constant(torch.nn.Module):
    """A network whose settings choose no schedule."""

    Settings = ExtractorSettings

    def __init__(self, channels, classes, grid):
        super().__init__()
        self.layer = torch.nn.Linear(channels, classes)

    def forward(self, embeddings):
        return self.layer(embeddings.mean((2, 3)))


def test_settings_without_a_schedule_train_at_a_constant_rate(tmp_path, tiny_data):
    _, history = run_training(tmp_path, tiny_data, f"{__name__}:Constant")
    assert history["learning_rate"].to_pylist() == [1e-2] * 3


@pytest.mark.parametrize(
    ("settings", "optimizer", "schedule"),
    [
        (StepTraining, torch.optim.Adam, torch.optim.lr_scheduler.StepLR),
        (WarmUpTraining, torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR),
        (ExtractorSettings, torch.optim.Adam, torch.optim.lr_scheduler.LambdaLR),
    ],
)
def test_the_class_of_the_settings_chooses_the_optimizer(settings, optimizer, schedule):
    chosen = optimizer_of(settings(network="cnn"), Constant(5, 3, (8, 8)), 5, fused=False)
    assert tuple(map(type, chosen)) == (optimizer, schedule)


def test_trainings_differ_in_their_seed_alone(tmp_path, tiny_data):
    first, again = (
        run_training(tmp_path, tiny_data, "cnn", **given)[0].read_bytes() for given in ({}, {"training": 0})
    )
    second, _ = run_training(tmp_path, tiny_data, "cnn", training=1)
    assert first == again != second.read_bytes()


def test_default_shapes_are_those_of_the_settings():
    with torch.device("meta"):
        network = build_extractor(MLP, channels=5, classes=3, grid=(8, 8))
    assert network.first.out_features == 64
    with pytest.raises(InputError, match=r"its Settings are no cortex\.ExtractorSettings"):
        extractor_settings("torch.nn:Identity")

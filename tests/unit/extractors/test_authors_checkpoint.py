"""The authors' extractors load: their names, our file, the same logits; and nothing in their file is executed."""

import pickle
from typing import get_args

import pytest
import torch

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.extractors.authors_checkpoint import AUTHORS, AuthorsNetwork, import_extractor
from cortex.extractors.network import build_extractor, load_extractor
from tests.training import SMALL

GRID = {"grid_height": 8, "grid_width": 12}


def released(path, name, zipped=True, **changes):
    """A network of random weights and statistics, and its state dict at ``path`` as the authors save it."""
    torch.manual_seed(0)
    network = build_extractor(name, channels=5, classes=3, grid=(8, 12), **SMALL[name])
    for weight in network.state_dict().values():
        weight.copy_(torch.rand(weight.shape) + 0.1 if weight.is_floating_point() else torch.tensor(7))
    torch.save(network.state_dict() | changes, path, _use_new_zipfile_serialization=zipped)
    return network.eval()


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("zipped", [True, False])
def test_an_imported_extractor_gives_the_same_logits(tmp_path, name, zipped):
    network = released(tmp_path / "best_model.pth", name, zipped)
    options = GRID | ({"heads": 2} if name == "transformer" else {})
    import_extractor(tmp_path / "model.safetensors", name, tmp_path / "best_model.pth", **options)
    embeddings = torch.randn(4, 5, 8, 12)
    imported = load_extractor(tmp_path / "model.safetensors", torch.device("cpu"))
    torch.testing.assert_close(imported(embeddings), network(embeddings), rtol=1e-5, atol=1e-5)
    for weight, value in network.state_dict().items():
        assert torch.equal(imported.state_dict()[weight], value), weight


def test_half_precision_becomes_float32(tmp_path):
    network = released(tmp_path / "best_model.pth", "resnet")
    torch.save(network.half().state_dict(), tmp_path / "best_model.pth")
    import_extractor(tmp_path / "model.safetensors", "resnet", tmp_path / "best_model.pth", **GRID)
    imported = load_extractor(tmp_path / "model.safetensors", torch.device("cpu"))
    assert torch.equal(imported.fc1.weight, network.fc1.weight.float())


# What is wrong with a CNN's state dict, and what is said of it.
WRONG = [
    ({"conv1_2.bias": None}, "1 missing weights: conv1_2.bias"),
    ({"conv1_1.weight": None, "fc3.weight": None}, "2 missing weights: conv1_1.weight, fc3.weight"),
    ({"conv3_1.bias": torch.ones(8)}, "1 unexpected weights: conv3_1.bias"),
    ({"bn1_1.weight": torch.ones(9)}, r"1 weights of another shape: bn1_1.weight \(9,\) for \(8,\)"),
    ({"fc1.weight": torch.ones(16)}, r"1 weights of another shape: fc1.weight \(16,\)"),
    ({"fc3.bias": torch.ones(3).long()}, "1 weights of another type: fc3.bias torch.int64"),
    ({"fc3.weight": torch.ones(4, 16)}, r"1 weights of another shape: fc3.bias \(3,\) for \(4,\)"),
    (
        {"fc2.bias": None, "fc4.bias": torch.ones(1), "fc1.bias": torch.ones(1, 1)},
        r"1 missing .* fc2.bias; 1 unexpected .* fc4.bias; 1 weights of another shape: fc1.bias \(1, 1\)",
    ),
]


@pytest.mark.parametrize(("changes", "told"), WRONG)
def test_what_does_not_fit_is_listed(tmp_path, changes, told):
    path = tmp_path / "best_model.pth"
    released(path, "cnn", **{name: value for name, value in changes.items() if value is not None})
    state = torch.load(path)
    torch.save({name: value for name, value in state.items() if changes.get(name, value) is not None}, path)
    with pytest.raises(InputError, match=rf"best_model.pth: no weights of a cnn: {told}"):
        import_extractor(tmp_path / "model.safetensors", "cnn", path, **GRID)
    assert not (tmp_path / "model.safetensors").exists()


def test_counters_of_batches_may_be_missing(tmp_path):
    """Old releases of torch had none, and other tools drop them; nothing reads them."""
    path = tmp_path / "best_model.pth"
    released(path, "cnn")
    import_extractor(tmp_path / "whole", "cnn", path, **GRID)
    state = {name: value for name, value in torch.load(path).items() if not name.endswith("num_batches_tracked")}
    assert len(state) < len(torch.load(path))
    torch.save(state, path)
    import_extractor(tmp_path / "without", "cnn", path, **GRID)
    embeddings = torch.randn(2, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    whole, without = (load_extractor(tmp_path / name) for name in ("whole", "without"))
    assert torch.equal(whole(embeddings), without(embeddings))


def test_another_network_or_grid_or_number_of_heads_is_told(tmp_path):
    released(tmp_path / "cnn.pth", "cnn")
    with pytest.raises(InputError, match=r"94 missing .* and 89 more; 63 unexpected weights: bn1"):
        import_extractor(tmp_path / "m", "resnet", tmp_path / "cnn.pth")
    with pytest.raises(InputError, match=r"fc1.weight \(16, 48\) for \(16, 128\); for grids of 16×16 tokens \(--grid"):
        import_extractor(tmp_path / "m", "cnn", tmp_path / "cnn.pth")
    released(tmp_path / "transformer.pth", "transformer")
    with pytest.raises(InputError, match=r"no transformer has the sizes .*'heads': 3"):
        import_extractor(tmp_path / "m", "transformer", tmp_path / "transformer.pth", **GRID, heads=3)


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    released(tmp_path / "best_model.pth", "cnn", **{"fc2.bias": torch.full((16,), torch.nan)})
    with pytest.raises(InputError, match=r"best_model.pth: weight fc2.bias: not all of its numbers are finite"):
        import_extractor(tmp_path / "m", "cnn", tmp_path / "best_model.pth", **GRID)


def test_it_offers_the_networks_that_the_authors_published(tmp_path, capsys):
    assert get_args(AuthorsNetwork) == tuple(AUTHORS)
    with pytest.raises(SystemExit):
        main(["import-extractor", "--help"])
    assert "{cnn,cnn_deep,resnet,transformer}" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"--network = 'vgg': allowed: cnn, cnn_deep, resnet, transformer, as"):
        import_extractor(tmp_path / "m", "vgg", tmp_path / "best_model.pth")


class Hostile:
    """Unpickling this writes a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path, zipped, capsys):
    path, marker = tmp_path / "best_model.pth", tmp_path / "executed"
    released(path, "cnn", zipped, **{"fc3.weight": Hostile(marker)})
    arguments = ["--output", tmp_path / "m", "--network", "cnn", "--checkpoint", path, "--grid-height", 8]
    assert main(["import-extractor", *map(str, arguments), "--grid-width", "12"]) == 1
    assert "best_model.pth: no weights of a cnn: 1 missing weights: fc3.weight" in capsys.readouterr().err
    assert not marker.exists() and not (tmp_path / "m").exists()
    pickle.loads(pickle.dumps(Hostile(marker))).close()
    assert marker.exists(), "the trap was armed"


def test_a_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "best_model.pth"
    released(path, "resnet")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"best_model.pth: not a whole checkpoint"):
        import_extractor(tmp_path / "m", "resnet", path)

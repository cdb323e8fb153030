"""An extractor that was trained elsewhere becomes an extractor of the run: the same network, numbers and statement."""

import pytest
import torch

from cortex.app.cli import main
from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.extractors.network import build_extractor, load_extractor, save_extractor
from cortex.extractors.pretrained import pretrained_extractor
from cortex.extractors.settings import PretrainedExtractor
from cortex.extractors.stated import stated_extractor
from tests.training import SMALL


def saved(path, name):
    """A network of random weights and statistics, and its file at ``path``."""
    torch.manual_seed(0)
    arguments = {"channels": 5, "classes": 3, "grid": [8, 8]} | SMALL[name]
    network = build_extractor(name, **arguments)
    for weight in network.state_dict().values():
        if weight.is_floating_point():
            weight.copy_(torch.rand(weight.shape) + 0.1)
    save_extractor(path, name, arguments, network.state_dict())
    return network.eval(), arguments


@pytest.mark.parametrize("name", SMALL)
def test_it_has_the_numbers_of_its_file(tmp_path, name):
    network, arguments = saved(tmp_path / "given.safetensors", name)
    write_weights(tmp_path / "codebook", {"codebook": torch.randn(6, 5)}, {})
    files = [tmp_path / "own.safetensors", tmp_path / "given.safetensors", tmp_path / "codebook"]
    options = [f"--{option}={path}" for option, path in zip(("output", "weights", "codebook"), files, strict=True)]
    assert main(["pretrained-extractor", *options]) == 0
    embeddings = torch.randn(4, 5, 8, 8)
    torch.testing.assert_close(load_extractor(files[0])(embeddings), network(embeddings), rtol=1e-5, atol=1e-5)
    assert (stated_extractor(files[0]).network, stated_extractor(files[0]).arguments) == (name, arguments)
    weights, _ = read_weights(files[0])
    assert all(torch.equal(weights[weight], value) for weight, value in network.state_dict().items())
    settings = PretrainedExtractor(network=name, weights=[str(files[1]), str(files[0])])
    assert (settings.network_arguments(), settings.seeds) == (arguments, 2)


def test_it_must_read_the_codes_of_the_generator(tmp_path):
    saved(tmp_path / "given.safetensors", "cnn")
    write_weights(tmp_path / "codebook", {"codebook": torch.randn(6, 4)}, {})
    with pytest.raises(InputError, match=r"given.safetensors: reads codes of 5 channels; those of .*codebook have 4"):
        pretrained_extractor(tmp_path / "own", tmp_path / "given.safetensors", tmp_path / "codebook")
    with pytest.raises(InputError, match=r"codebook: not an extractor's weights: its metadata has no 'extractor'"):
        pretrained_extractor(tmp_path / "own", tmp_path / "codebook", tmp_path / "codebook")
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("entry", ["cnn", "[]", '{"network": "cnn"}', '{"network": "cnn", "settings": 3}'])
def test_a_wrong_statement_is_told_with_the_file(tmp_path, entry):
    write_weights(tmp_path / "model", {}, {"extractor": entry})
    with pytest.raises(InputError, match="model: not an extractor's weights: its 'extractor' is wrong"):
        stated_extractor(tmp_path / "model")

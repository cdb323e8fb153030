"""A generator's tokenizer with classes of its own: the same codes and images, nothing that it learned of classes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cortex.core.errors import InputError
from cortex.core.registry import ALLOWED
from cortex.core.weights import write_weights
from cortex.generators.load import generator_of_run, generator_spec, load_family, load_generator, read_codebook
from cortex.generators.sampling import Sampling
from cortex.generators.spec import Origin
from cortex.generators.tokenizer import write_tokenizer

CLASSES = ("fist", "straße", "palm")


@pytest.fixture
def tokenizer(tmp_path, generator_weights):
    path = tmp_path / "generator" / "tokenizer.safetensors"
    write_tokenizer(path, classes=CLASSES, generator=generator_weights)
    return path


def test_it_encodes_and_decodes_as_the_generator_does(tokenizer, generator_weights):
    own, model = load_generator(generator_weights), load_generator(tokenizer, family="tokenizer")
    images = torch.randint(0, 256, (3, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    grids = model.encode(images)
    assert torch.equal(grids, own.encode(images)) and len(grids.unique()) > 1
    assert torch.equal(model.decode(grids), own.decode(grids))
    assert torch.equal(model.codebook, own.codebook)
    assert torch.equal(read_codebook(tokenizer, "tokenizer"), own.codebook)
    vectors = own.codebook[grids.flatten(1)]
    assert torch.equal(model.compose(vectors), own.compose(vectors))


def test_it_has_its_own_classes_and_draws_nothing(tokenizer, generator_weights):
    spec, own = generator_spec(tokenizer, "tokenizer"), generator_spec(generator_weights)
    assert spec.class_names == CLASSES != own.class_names
    assert (own.samples, own.prior, own.guidance) == (True, True, True)
    assert (spec.samples, spec.prior, spec.guidance, spec.decodes, spec.encodes) == (False, False, False, True, True)
    assert (spec.grid, spec.codes, spec.image) == (own.grid, own.codes, own.image)
    model = load_generator(tokenizer, family="tokenizer")
    assert model.spec == spec and model.prior() is None
    with pytest.raises(InputError, match="cannot sample"):
        model.sample([0], np.zeros(1, np.uint64), Sampling())


def test_a_run_s_own_files_come_before_those_of_its_config(tmp_path, tokenizer):
    assert generator_of_run(tmp_path, "taming", None, own_classes=True) == ("tokenizer", tokenizer)
    left_over = generator_of_run(tmp_path, "taming", None, own_classes=False)
    assert left_over == ("taming", None), "of a former config"
    converted = tmp_path / "generator" / "weights.safetensors"
    converted.touch()
    assert generator_of_run(tmp_path, "ibq", None, own_classes=False) == ("ibq", converted)


def test_it_moves_with_the_weights_beside_it_and_names_no_other_tokenizer(tmp_path, generator_weights, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(generator_weights, folder / "weights.safetensors")
    monkeypatch.chdir(tmp_path)
    write_tokenizer(Path("run/tokenizer.safetensors"), classes=CLASSES, generator=Path("run/weights.safetensors"))
    folder.rename(tmp_path / "moved")
    assert generator_spec(Path("moved/tokenizer.safetensors"), "tokenizer").class_names == CLASSES
    monkeypatch.chdir("/")
    assert generator_spec(tmp_path / "moved/tokenizer.safetensors", "tokenizer").class_names == CLASSES
    write_tokenizer(tmp_path / "named.safetensors", classes=CLASSES, generator=Path("digits"))
    assert generator_spec(tmp_path / "named.safetensors", "tokenizer").codes == 256
    stated = {"family": "tokenizer", "weights": "itself.safetensors", "classes": ["a"]}
    write_weights(tmp_path / "itself.safetensors", {}, {"architecture": json.dumps(stated)})
    with pytest.raises(InputError, match=r"itself\.safetensors: a tokenizer of a tokenizer"):
        generator_spec(tmp_path / "itself.safetensors", "tokenizer")


def test_a_tokenizer_of_a_tokenizer_is_not_written(tmp_path, tokenizer):
    with pytest.raises(InputError, match="family = 'tokenizer': a tokenizer cannot wrap a tokenizer"):
        write_tokenizer(tmp_path / "again.safetensors", classes=CLASSES, generator=tokenizer, family="tokenizer")
    assert not (tmp_path / "again.safetensors").exists()


@pytest.mark.parametrize("architecture", [None, "{", "[]", '{"family": "taming", "weights": 3, "classes": []}'])
def test_other_files_are_refused(tmp_path, architecture):
    path = tmp_path / "a.safetensors"
    write_weights(path, {"x": torch.zeros(1)}, {} if architecture is None else {"architecture": architecture})
    with pytest.raises(InputError, match="not a tokenizer's file"):
        load_family("tokenizer").spec(Origin(path))


def test_code_from_outside_is_imported_only_where_it_is_allowed(tmp_path, monkeypatch):
    path, family = tmp_path / "toy.safetensors", "tests.toy_generator:FAMILY"
    write_tokenizer(path, classes=CLASSES, family=family)
    monkeypatch.delenv(ALLOWED, raising=False)
    with pytest.raises(InputError, match=f"imported only if the environment variable {ALLOWED} names it"):
        load_generator(path, family="tokenizer")
    monkeypatch.setenv(ALLOWED, family)
    assert load_generator(path, family="tokenizer").spec.class_names == CLASSES

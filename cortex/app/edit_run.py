"""The extractor and the generator of a run that a picture is edited with."""

from pathlib import Path

import torch

from cortex.core.errors import InputError
from cortex.extractors.names import split_name
from cortex.generators.base import Generator
from cortex.generators.load import generator_spec, load_generator
from cortex.generators.tokenizer import Tokenizer
from cortex.run import open_run


def first_extractor(run: Path) -> tuple[str, int]:
    """Name and training of the first extractor that a run has trained.

    Raises:
        InputError: there is none.
    """
    trained = open_run(run).extractors
    if not trained:
        raise InputError(f"{run}: no extractors/*/*/model.safetensors; is the run finished?")
    return min(map(split_name, trained))


def load_generator_of(folder: Path, weights: Path | None, device: torch.device) -> Generator:
    """The generator whose tokens a run is about.

    Raises:
        InputError: it has another codebook than the run, so another generator made that.
    """
    run = open_run(folder)
    if weights is None:
        model = run.generator(str(device), decode_only=True)
    else:
        model = load_generator(weights, device, family=run.settings["generator"]["family"], decode_only=True)
    if not torch.equal(run.codebook(str(device)), model.codebook):
        exported = folder / "generator" / "codebook.safetensors"
        raise InputError(
            f"{exported}: not the codebook of {weights or 'the generator in settings.json'}; "
            "--generator names the weights file that made the run"
        )
    names = generator_spec(run.folder / "generator" / "codebook.safetensors", "codebook").class_names
    return model if names == model.spec.class_names else Tokenizer(model.spec.with_classes(names), model)

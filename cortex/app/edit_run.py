"""The extractor and the generator of a run that a picture is edited with."""

from pathlib import Path

import torch

from cortex.core.errors import InputError
from cortex.extractors.codebook import load_codebook
from cortex.extractors.names import split_name
from cortex.generators.base import Generator
from cortex.generators.load import generator_of_run, load_generator


def first_extractor(run: Path) -> tuple[str, int]:
    """Name and training of the first extractor that a run has trained.

    Raises:
        InputError: there is none.
    """
    trained = [path.parent for path in run.glob("extractors/*/*/model.safetensors")]
    if not trained:
        raise InputError(f"{run}: no extractors/*/*/model.safetensors; is it the folder of a run?")
    return min(split_name(f"{folder.parent.name}/{folder.name}") for folder in trained)


def load_generator_of(run: Path, family: str, weights: Path | None, device: torch.device) -> Generator:
    """The generator whose tokens a run is about.

    Raises:
        InputError: it has another codebook than the run, so another generator made that.
    """
    path = weights
    if weights is None:
        family, path = generator_of_run(run, family, None)
    model = load_generator(path, device, family=family, decode_only=True)
    exported = run / "generator" / "codebook.safetensors"
    if not torch.equal(load_codebook(exported, device), model.codebook):
        raise InputError(
            f"{exported}: not the codebook of {path or 'the default generator'}; "
            "--generator is the weights file that the run's config names"
        )
    return model

"""What a generator's weights file says about its shapes, read from its metadata alone, without torch."""

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from cortex.core.errors import InputError


@dataclass(frozen=True)
class GeneratorSpec:
    """Shapes that settings must fit.

    Args:
        class_names: one a class, in the order of the class indices; of a generator that only decodes, those that it
            was given, if any.
        grid: (h, w) of a token grid.
        codes: codes in the codebook, K.
        channels: channels of a code, d.
    """

    class_names: tuple[str, ...]
    grid: tuple[int, int]
    codes: int
    channels: int


def bundled_weights() -> Path:
    """Path of the weights of the digits generator that ships with this package."""
    return Path(str(resources.files("cortex.generators.taming").joinpath("digits.safetensors")))


def architecture_of(metadata: dict[str, str] | None, path: Path) -> dict[str, Any]:
    """The architecture kept in a weights file's metadata.

    Raises:
        InputError: the file is not a generator's.
    """
    if not metadata or "architecture" not in metadata:
        raise InputError(f"{path}: not a generator's weights: its metadata has no 'architecture'")
    try:
        architecture: dict[str, Any] = json.loads(metadata["architecture"])
        facts, transformer = spec_of(architecture), architecture["transformer"]
        if transformer is not None and not facts.class_names:
            raise ValueError("a transformer has classes")
        if transformer is not None and not len(facts.class_names) <= transformer["vocab_size"] <= facts.codes:
            raise ValueError("vocab_size holds all class indices, and nothing but codes")
        if transformer is not None and transformer["block_size"] < facts.grid[0] * facts.grid[1]:
            raise ValueError("block_size is less than the positions of the grid")
    except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        raise InputError(f"{path}: not a generator's weights: its 'architecture' is wrong: {error!r}") from None
    return architecture


def generator_spec(path: Path | None = None) -> GeneratorSpec:
    """The facts of the generator at ``path``; None: of the embedded digits generator.

    Raises:
        InputError: the file is missing, damaged, or not a generator's.
    """
    return spec_of(stored_architecture(path))


def stored_architecture(path: Path | None = None) -> dict[str, Any]:
    """The architecture of the generator at ``path``; None: of the embedded digits generator.

    Raises:
        InputError: the file is missing, damaged, or not a generator's.
    """
    path = path or bundled_weights()
    try:
        with safe_open(path, framework="numpy") as file:
            return architecture_of(file.metadata(), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a whole safetensors file: {error}") from None


def spec_of(architecture: dict[str, Any]) -> GeneratorSpec:
    """The facts of an architecture; ValueError, TypeError, LookupError or ArithmeticError if it is none."""
    vqgan = architecture["vqgan"]
    side = vqgan["ddconfig"]["resolution"] // 2 ** (len(vqgan["ddconfig"]["ch_mult"]) - 1)
    facts = GeneratorSpec(tuple(architecture["classes"]), (side, side), vqgan["n_embed"], vqgan["embed_dim"])
    if not all(type(number) is int and number > 0 for number in (side, facts.codes, facts.channels)):
        raise ValueError("resolution, n_embed and embed_dim are whole numbers from 1 on")
    if not all(isinstance(name, str) for name in facts.class_names):
        raise ValueError("classes are names")
    return facts

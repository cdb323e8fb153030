"""Build an extractor by name, save it, and load it back from its file alone."""

import importlib
import json
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cortex.core.device import place
from cortex.core.errors import InputError
from cortex.core.weights import load_into, read_weights, write_weights
from cortex.extractors import NETWORKS
from cortex.extractors.codebook import load_codebook

NetworkName = Literal["cnn", "cnn_deep", "resnet", "transformer"]


def build_extractor(name: str, **settings: Any) -> nn.Module:
    """A new extractor; ``settings`` are its class's keyword arguments.

    Raises:
        InputError: no such network, or it has no such setting.
    """
    if name not in NETWORKS:
        raise InputError(f"extractor {name!r}: allowed: {', '.join(NETWORKS)}")
    module, cls = NETWORKS[name]
    try:
        network: nn.Module = getattr(importlib.import_module(module), cls)(**settings)
    except (TypeError, AssertionError) as error:
        raise InputError(f"extractor {name}: {error}") from None
    return network


def save_extractor(path: Path, name: str, settings: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Write an extractor's weights with what is needed to build it."""
    # One entry: safetensors writes several in an order of its own, and the same training is to give the same file.
    write_weights(path, state, {"extractor": json.dumps({"network": name, "settings": settings})})


def load_extractor(path: Path, device: torch.device) -> nn.Module:
    """The extractor at ``path``, in eval mode and without gradients for its weights.

    Raises:
        InputError: the file is missing, truncated, or not an extractor's.
    """
    network, tensors = _build_as(path)
    load_into(network, tensors, path)
    return place(network, device).eval().requires_grad_(False)


def load_with_codebook(path: Path, codebook: Path, device: torch.device) -> tuple[nn.Module, Tensor]:
    """The extractor at ``path``, as :func:`load_extractor` gives it, and the codebook ``[K, d]`` whose codes it reads.

    Raises:
        InputError: either file is missing, truncated or another's, or the extractor reads codes of other than d
            channels.
    """
    network, code_vectors = load_extractor(path, device), load_codebook(codebook, device)
    channels = _settings(path).get("channels", code_vectors.shape[1])
    if channels != code_vectors.shape[1]:
        raise InputError(
            f"{path}: reads codes of {channels} channels; those of {codebook} have {code_vectors.shape[1]}"
        )
    return network, code_vectors


def check_reads(path: Path, grid: tuple[int, ...], label: int) -> None:
    """Raise an InputError unless the extractor at ``path`` was made for grids of this shape, and knows the class."""
    settings = _settings(path)
    made_for = tuple(settings.get("grid", grid))
    if made_for != grid:
        made, here = ("×".join(map(str, shape)) for shape in (made_for, grid))
        raise InputError(f"{path}: reads grids of {made} tokens; these are of {here}")
    if label >= settings.get("classes", label + 1):
        raise InputError(f"{path}: knows the classes 0 to {settings['classes'] - 1}; here is class {label}")


def untrained_extractor(path: Path, device: torch.device, seed: int) -> nn.Module:
    """An extractor built as the one at ``path``, but with new weights of the seed's, as before any training.

    Raises:
        InputError: the file is missing, truncated, or not an extractor's.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, _ = _build_as(path)
    return place(network, device).eval().requires_grad_(False)


def _build_as(path: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    """A new network of the kind that ``path`` holds the weights of, and those weights."""
    tensors, metadata = read_weights(path)
    if "extractor" not in metadata:
        raise InputError(f"{path}: not an extractor's weights: its metadata has no 'extractor'")
    try:
        stated = json.loads(metadata["extractor"])
        return build_extractor(stated["network"], **stated["settings"]), tensors
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(f"{path}: not an extractor's weights: its 'extractor' is wrong: {error!r}") from None


def _settings(path: Path) -> dict[str, Any]:
    """By what settings the extractor at ``path``, which could be loaded, was built."""
    _, metadata = read_weights(path, only="none, but the metadata")
    settings: dict[str, Any] = json.loads(metadata["extractor"])["settings"]
    return settings

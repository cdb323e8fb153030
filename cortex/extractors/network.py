"""Build an extractor by name, save it, and load it back from its file alone."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cortex.core.device import place
from cortex.core.errors import InputError, reason_of
from cortex.core.weights import load_into, read_weights, write_weights
from cortex.extractors import EXTRACTORS, extractor_settings
from cortex.extractors.codebook import load_codebook
from cortex.extractors.stated import stated_extractor, stated_in
from cortex.generators.scales import Composition


class Composed(nn.Module):
    """An extractor of tokens of several scales: it reads the map that they add up to.

    Args:
        composition: of the tokens; it is not trained.
        network: an extractor of such maps.
    """

    def __init__(self, composition: Composition, network: nn.Module):
        super().__init__()
        self.composition, self.network = composition.requires_grad_(False), network

    def forward(self, vectors: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of token vectors ``[B, d, 1, P]``."""
        logits: Tensor = self.network(self.composition(vectors.flatten(2).transpose(1, 2)))
        return logits


def learned(network: nn.Module) -> nn.Module:
    """The part of an extractor that is trained: all but the composition of tokens of several scales."""
    return network.network if isinstance(network, Composed) else network


def build_extractor(name: str, *, scales: Sequence[int] = (), **arguments: Any) -> nn.Module:
    """A new extractor.

    Args:
        name: of its network: a registered name, or module:Class.
        scales: rows and columns of every scale; empty: tokens have one scale. The weights of their composition are not
            those of the generator yet.
        arguments: the constructor's: ``channels``, ``classes``, ``grid``, and the network's shape. A shape's default is
            that of the network's settings.

    Raises:
        InputError: no such network, or it takes other arguments.
    """
    settings = extractor_settings(name)
    fields = {field: settings.model_fields[field] for field in settings.shape}
    defaults = {field: info.get_default() for field, info in fields.items() if not info.is_required()}
    read = {"grid": (scales[-1], scales[-1])} if scales else {}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # layers of a very narrow network
            network: nn.Module = EXTRACTORS.load(name)(**defaults | arguments | read)
    except (TypeError, AssertionError, RuntimeError) as error:  # of a layer of a size below zero: RuntimeError
        raise InputError(f"extractor {name}: {reason_of(error)}") from None
    return Composed(Composition(scales, arguments["channels"]), network) if scales else network


def save_extractor(path: Path, name: str, arguments: dict[str, Any], state: dict[str, Tensor]) -> None:
    """Write an extractor's weights with the name of its network and the arguments that build it."""
    # One entry: safetensors writes several in an order of its own, and the same training is to give the same file.
    write_weights(path, state, {"extractor": json.dumps({"network": name, "settings": arguments})})


def load_extractor(path: Path, device: str | torch.device = "cpu") -> nn.Module:
    """The extractor at ``path``, in eval mode and without gradients for its weights.

    Raises:
        InputError: the file is missing, truncated, or not an extractor's, or its network is code from outside that is
            not allowed (:meth:`~cortex.core.registry.Registry.check_stated`).
    """
    network, tensors = _build_as(path)
    load_into(network, tensors, path)
    return place(network, torch.device(device)).eval().requires_grad_(False)


def load_with_codebook(path: Path, codebook: Path, device: torch.device) -> tuple[nn.Module, Tensor]:
    """The extractor at ``path``, as :func:`load_extractor` gives it, and the codebook ``[K, d]`` whose codes it reads.

    Raises:
        InputError: either file is missing, truncated or another's, or the extractor reads codes of other than d
            channels.
    """
    network, code_vectors = load_extractor(path, device), load_codebook(codebook, device)
    channels = stated_extractor(path).arguments.get("channels", code_vectors.shape[1])
    if channels != code_vectors.shape[1]:
        raise InputError(
            f"{path}: reads codes of {channels} channels; those of {codebook} have {code_vectors.shape[1]}"
        )
    return network, code_vectors


def check_reads(path: Path, grid: tuple[int, ...], label: int) -> None:
    """Raise an InputError unless the extractor at ``path`` was made for grids of this shape, and knows the class."""
    settings = stated_extractor(path).arguments
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
        network, tensors = _build_as(path)
    if isinstance(network, Composed):  # no part of it is learned
        own = {name.removeprefix("composition."): each for name, each in tensors.items() if "composition." in name}
        network.composition.load_state_dict(own)
    return place(network, device).eval().requires_grad_(False)


def _build_as(path: Path) -> tuple[nn.Module, dict[str, Tensor]]:
    """A new network of the kind that ``path`` holds the weights of, and those weights."""
    tensors, metadata = read_weights(path)
    stated = stated_in(metadata, path)
    EXTRACTORS.check_stated(stated.network, path)
    try:
        return build_extractor(stated.network, **stated.arguments), tensors
    except InputError as error:
        raise InputError(f"{path}: not an extractor's weights: {error}") from None
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise InputError(
            f"{path}: not an extractor's weights: its 'extractor' is wrong: {reason_of(repr(error))}"
        ) from None

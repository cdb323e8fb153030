"""The authors' own extractors: ``checkpoints/ClassificationNet{1..4}/best_model.pth`` (METHOD.md, section 3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cortex.core.checkpoint import read_state
from cortex.core.errors import InputError, cut, listed, reason_of, shown
from cortex.extractors.network import build_extractor, save_extractor

AuthorsNetwork = Literal["cnn", "cnn_deep", "resnet", "transformer"]
Sizes = Mapping[str, tuple[str, int]]  # argument of a network → the weight, and its dimension, that has this size

OF_CNN: Sizes = {
    "channels": ("conv1_1.weight", 1),
    "width": ("conv1_1.weight", 0),
    "hidden": ("fc1.weight", 0),
    "classes": ("fc3.weight", 0),
}
PAPER = {"channels": 256, "classes": 1000}  # sizes of no influence on the names of weights
AUTHORS: Mapping[AuthorsNetwork, Sizes] = {
    "cnn": OF_CNN,
    "cnn_deep": OF_CNN,
    "resnet": {
        "channels": ("layer1.0.conv1.weight", 1),
        "width": ("layer1.0.conv1.weight", 0),
        "hidden": ("fc1.weight", 0),
        "classes": ("fc2.weight", 0),
    },
    "transformer": {
        "channels": ("proj.0.weight", 1),
        "width": ("proj.0.weight", 0),
        "mlp": ("encoder.0.mlp.0.weight", 0),
        "hidden": ("pre_classifier.0.weight", 0),
        "classes": ("fc.weight", 0),
    },
}


def import_extractor(
    output: Path,
    network: AuthorsNetwork,
    checkpoint: Path,
    *,
    grid_height: int = 16,
    grid_width: int = 16,
    heads: int = 8,
) -> None:
    """Convert an extractor's state dict, as its authors saved it with torch.save, to a weights file.

    Nothing in the checkpoint is executed. Widths, layers and classes are read off the weights' shapes.

    Args:
        output: weights to write (safetensors).
        network: network of the checkpoint: cnn (ClassificationNet1), cnn_deep (2), resnet (3) or transformer (4).
        checkpoint: file of the checkpoint, best_model.pth.
        grid_height: rows of the token grids that the extractor was trained on.
        grid_width: columns of these grids.
        heads: attention heads (transformer only); the shapes do not state them.
    """
    if network not in AUTHORS:
        raise InputError(f"--network = {shown(network)}: allowed: {', '.join(AUTHORS)}, as the authors published them")
    state = read_state(checkpoint)
    arguments: dict[str, Any] = {"grid": (grid_height, grid_width)}
    if network == "transformer":
        arguments |= {"heads": heads, "layers": sum(name.endswith(".norm1.weight") for name in state)}
    expected = _built(checkpoint, network, PAPER | arguments)
    counters = [name for name in expected.state_dict() if name.endswith(".num_batches_tracked")]
    state = {name: torch.tensor(0) for name in counters} | state  # releases of torch before 0.4.1 had none
    _check(checkpoint, network, state, expected, shapes=False)
    for argument, (name, dimension) in AUTHORS[network].items():
        arguments[argument] = state[name].shape[dimension]
    asked = f"; for grids of {grid_height}×{grid_width} tokens (--grid-height, --grid-width)"
    _check(checkpoint, network, state, _built(checkpoint, network, arguments), shapes=True, asked=asked)
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    save_extractor(output, network, arguments, tensors)


def _built(checkpoint: Path, network: str, arguments: dict[str, Any]) -> nn.Module:
    """The network of these arguments, without memory for its weights."""
    try:
        with torch.device("meta"):
            return build_extractor(network, **arguments)
    except (AssertionError, ArithmeticError, ValueError, RuntimeError) as error:
        sizes = cut(str(arguments))
        raise InputError(f"{checkpoint}: no {network} has the sizes {sizes}: {reason_of(error)}") from None


def _check(
    path: Path, network: str, state: dict[str, Tensor], expected: nn.Module, *, shapes: bool, asked: str = ""
) -> None:
    """Raise an InputError that lists the weights that are missing, unexpected, or of another kind or shape."""
    weights = expected.state_dict()
    both = sorted(weights.keys() & state.keys())
    differ = [name for name in both if state[name].ndim != weights[name].ndim]
    if shapes:
        differ = [name for name in both if state[name].shape != weights[name].shape]
    problems = {
        "missing weights": sorted(weights.keys() - state.keys()),
        "unexpected weights": sorted(state.keys() - weights.keys()),
        "weights of another shape": [
            f"{name} {tuple(state[name].shape)}" + (f" for {tuple(weights[name].shape)}" if shapes else "")
            for name in differ
        ],
        "weights of another type": [
            f"{name} {state[name].dtype}"
            for name in both
            if state[name].is_floating_point() != weights[name].is_floating_point()
        ],
    }
    told = [f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names]
    if told:
        raise InputError(f"{path}: no weights of a {network}: {'; '.join(told)}{asked}")

"""The one interface of all judges: images in, class logits out."""

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.device import place
from cortex.core.errors import InputError, reason_of
from cortex.core.weights import load_into, read_weights, write_weights
from cortex.judges import JUDGES
from cortex.judges.stated import StatedJudge, stated_judge

# How far below the lowest logit of an image that of a class lies which the judge does not know: e^-100 is no
# probability, and finite.
BELOW = 100.0


class Judge:
    """An image classifier in eval mode.

    Args:
        network: images float ``[B, 3, H, W]`` in -1..1 to logits ``[B, outputs]``.
        device: where it is.
        stated: what its file states; None: nothing but the network.
    """

    def __init__(self, network: nn.Module, device: torch.device, stated: StatedJudge | None = None):
        self.network = place(network, device).eval().requires_grad_(False)
        self.device = device
        self._stated = stated or StatedJudge("", {})

    @property
    def held_out_top1(self) -> float | None:
        """Accuracy on the held-out pictures of its training, 0..1; None where nothing states it."""
        return self._stated.held_out_top1

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits; empty where nothing states them."""
        names, outputs = self._stated.class_names, self._stated.outputs
        return names if outputs is None else tuple(names[each] if each >= 0 else "" for each in outputs)

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Logits float32 ``[B, classes]`` of images uint8 ``[B, H, W, 3]``.

        Images of another size than the judge was trained on are resized.
        """
        scaled = images.to(self.device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        size = self._stated.arguments.get("size", None)
        if size is not None and scaled.shape[2:] != (size, size):
            scaled = F.interpolate(scaled, (size, size), mode="bilinear", antialias=True)
        found = self.network(scaled).float()
        if self._stated.outputs is None:
            return found
        unknown = found.amin(1, keepdim=True) - BELOW  # the last column: that of index −1
        return torch.cat([found, unknown], 1)[:, list(self._stated.outputs)]

    @torch.inference_mode()
    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float32 ``[B, classes]`` of images uint8 ``[B, H, W, 3]``, and their features float32 ``[B, F]``.

        Features are the input of the network's last linear layer.

        Raises:
            InputError: the network has no linear layer.
        """
        layers = [module for module in self.network.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise InputError(f"judge {type(self.network).__name__}: it has no linear layer whose input are features")
        seen: list[Tensor] = []
        hook = layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = self.logits(images)
        finally:
            hook.remove()
        return logits, seen[-1].float().flatten(1)


def build_judge(name: str, arguments: dict[str, Any]) -> nn.Module:
    """A judge's network, with random weights.

    Args:
        name: of the network: a registered name, or module:Class.
        arguments: of its constructor, such as ``classes`` and ``size``.

    Raises:
        InputError: no such network, or it cannot be built.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # load_into refuses such a layer
            network: nn.Module = JUDGES.load(name)(**arguments)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(f"judge {name}: {str(error).partition(chr(10))[0]}") from None
    return network


def not_importable(network: str, package: str, error: Exception) -> InputError:
    """The error to raise where the package that has a network, or its weights, cannot be imported."""
    return InputError(f"judge network {network}: {reason_of(error)}; install {package} (pip)")


def save_judge(path: Path, network: nn.Module, stated: StatedJudge, *, half: bool = False) -> None:
    """Write a judge's weights with what is stated of it.

    Args:
        path: weights to write (safetensors).
        network: the weights' network.
        stated: what is stated.
        half: write the weights in float16, half as large; they are float32 when they are loaded.
    """
    tensors = network.state_dict()
    if half:
        tensors = {name: each.half() if each.is_floating_point() else each for name, each in tensors.items()}
    write_weights(path, tensors, {"judge": stated.as_text()})


def read_judge(path: Path) -> tuple[nn.Module, StatedJudge]:
    """The network that ``cortex train-judge`` or ``cortex pretrained-judge`` wrote, and what its file states.

    Raises:
        InputError: as :func:`load_judge`.
    """
    stated = stated_judge(path)
    try:
        network = build_judge(stated.network, stated.arguments)
    except InputError as error:
        raise InputError(f"{path}: not a judge's weights: {error}") from None
    load_into(network, read_weights(path)[0], path)
    return network, stated


def load_judge(path: Path, device: str | torch.device = "cpu") -> Judge:
    """The judge that ``cortex train-judge`` or ``cortex pretrained-judge`` wrote.

    Raises:
        InputError: the file is missing, truncated, or not a judge's, its network's package cannot be imported, or its
            network is code from outside that is not allowed (:meth:`~cortex.core.registry.Registry.check_stated`).
    """
    network, stated = read_judge(path)
    return Judge(network, torch.device(device), stated)

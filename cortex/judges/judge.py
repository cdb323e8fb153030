"""The one interface of all judges: images in, class logits out."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from cortex.core.device import place
from cortex.core.errors import InputError
from cortex.core.weights import load_into, read_weights, write_weights
from cortex.judges import JUDGES, judge_settings
from cortex.judges.settings import JudgeSettings


class Judge:
    """An image classifier in eval mode.

    Args:
        network: images float ``[B, 3, H, W]`` in -1..1 to logits ``[B, classes]``.
        device: where it is.
    """

    def __init__(self, network: nn.Module, device: torch.device):
        self.network = place(network, device).eval().requires_grad_(False)
        self.device = device

    @torch.inference_mode()
    def logits(self, images: Tensor) -> Tensor:
        """Logits float32 ``[B, classes]`` of images uint8 ``[B, H, W, 3]``."""
        scaled = images.to(self.device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        return self.network(scaled).float()

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


def build_judge(name: str, classes: int | None) -> nn.Module:
    """A judge's network, with random weights.

    Args:
        name: of the network: a registered name, or module:Class.
        classes: classes to tell apart; None where the network's settings state no number, and its constructor takes
            none.

    Raises:
        InputError: no such network, or it cannot be built.
    """
    try:
        network: nn.Module = JUDGES.load(name)(**{} if classes is None else {"classes": classes})
    except TypeError as error:
        raise InputError(f"judge {name}: {error}") from None
    return network


def save_judge(path: Path, settings: JudgeSettings, network: nn.Module) -> None:
    """Write a judge's weights with the name of its network and its number of classes."""
    # One entry: safetensors writes several in an order of its own, and the same training is to give the same file.
    stated = {"network": settings.network, "classes": settings.classes}
    write_weights(path, network.state_dict(), {"judge": json.dumps(stated)})


def load_judge(path: Path, device: str | torch.device = "cpu") -> Judge:
    """The judge that ``cortex train-judge`` or ``cortex pretrained-judge`` wrote.

    Raises:
        InputError: the file is missing, truncated, or not a judge's, its network's package cannot be imported, or its
            network is code from outside that is not allowed (:meth:`~cortex.core.registry.Registry.check_stated`).
    """
    tensors, metadata = read_weights(path)
    if "judge" not in metadata:
        raise InputError(f"{path}: not a judge's weights: its metadata has no 'judge'")
    name, classes = _stated(path, metadata["judge"])
    network = build_judge(name, classes)
    load_into(network, tensors, path)
    return Judge(network, torch.device(device))


def _stated(path: Path, entry: str) -> tuple[str, int | None]:
    """The network that a file's metadata states, which may be loaded, and its number of classes."""
    if not entry.startswith("{"):  # of earlier releases: a name alone
        JUDGES.check_stated(entry, path)
        return entry, judge_settings(entry).classes
    try:
        stated = json.loads(entry)
        name, classes = str(stated["network"]), stated["classes"]
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f"{path}: not a judge's weights: its 'judge' is wrong: {error!r}") from None
    if classes is not None and not (type(classes) is int and classes > 0):
        raise InputError(f"{path}: not a judge's weights: its 'judge' is wrong: classes = {classes!r}")
    JUDGES.check_stated(name, path)
    return name, classes

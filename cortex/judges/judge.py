"""The one interface of all judges: images in, class logits out."""

from pathlib import Path

import torch
from torch import Tensor, nn

from cortex.core.device import place
from cortex.core.errors import InputError
from cortex.core.weights import load_into, read_weights
from cortex.data.digits import CLASS_NAMES
from cortex.judges import imagenet
from cortex.judges.networks import NETWORKS


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


def load_judge(path: Path, device: torch.device) -> Judge:
    """The judge that ``cortex train-judge`` or ``cortex pretrained-judge`` wrote.

    Raises:
        InputError: the file is missing, truncated, or not a judge's, or its network's package cannot be imported.
    """
    tensors, metadata = read_weights(path)
    name = metadata.get("judge", "")
    if name in NETWORKS:
        network = NETWORKS[name](classes=len(CLASS_NAMES))
    elif name in imagenet.NAMES:
        network = imagenet.imagenet_classifier(name)
    else:
        known = sorted([*NETWORKS, *imagenet.NAMES])
        raise InputError(f"{path}: not a judge's weights: its metadata has no 'judge' among {known}")
    load_into(network, tensors, path)
    return Judge(network, device)

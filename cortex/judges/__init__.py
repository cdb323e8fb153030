"""Judges: classifiers of images that never saw a token (METHOD.md, section 6).

A judge's network is an ``nn.Module`` of images float ``[B, 3, H, W]`` in -1..1 that gives logits ``[B, classes]``. Its
class attribute ``Settings`` says whether the run trains it (``TrainedJudge``) or it comes with weights
(``PretrainedJudge``: the class method ``pretrained(weights)`` gives it, of a file or of None). The constructor takes
the fields named in ``shape`` of the settings, and ``pretrained`` takes them beside the weights. The constructor of a
network that the run trains also takes ``classes`` and ``size``; that of another one takes ``classes`` if the settings
state their number.
"""

from cortex.core.errors import InputError, shown
from cortex.core.registry import Registry
from cortex.judges import settings as own

JUDGES = Registry(
    "judge",
    {
        "vit": "cortex.judges.networks:ViT",
        "resnet": "cortex.judges.networks:ResNet",
        "vit_b_16": "cortex.judges.imagenet:ViTB16",
        "vit_b_32": "cortex.judges.imagenet:ViTB32",
        "resnet18": "cortex.judges.imagenet:ResNet18",
        "resnet50": "cortex.judges.imagenet:ResNet50",
        "efficientnet_lite0": "cortex.judges.imagenet:EfficientNetLite0",
        "landuse_vit": "cortex.judges.saved:Bundled",
        "landuse_resnet": "cortex.judges.saved:Bundled",
        "saved": "cortex.judges.saved:Saved",
        "onnx": "cortex.judges.onnx:OnnxModel",
    },
)
# Settings of this package's networks, found without importing torch. The networks have them as ``Settings``, too.
_SETTINGS: dict[str, type[own.JudgeSettings]] = {"vit": own.ViTJudge, "resnet": own.ResNetJudge}
_SETTINGS |= {"landuse_vit": own.BundledJudge, "landuse_resnet": own.BundledJudge, "saved": own.SavedJudge}
_SETTINGS |= {"onnx": own.OnnxJudge}
_SETTINGS |= dict.fromkeys(("vit_b_16", "vit_b_32", "resnet18", "resnet50", "efficientnet_lite0"), own.ImageNetJudge)


def judge_settings(network: str) -> type[own.JudgeSettings]:
    """The class of a network's settings.

    Raises:
        InputError: there is no such network, or it cannot be imported.
    """
    if network in _SETTINGS:
        return _SETTINGS[network]
    found = getattr(JUDGES.load(network), "Settings", None)
    if not (isinstance(found, type) and issubclass(found, own.JudgeSettings)):
        raise InputError(
            f"judge {shown(network)}: no judge: it has no Settings, a cortex.PretrainedJudge or TrainedJudge"
        )
    return found

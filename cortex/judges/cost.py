"""What judges cost: those of this package's networks, counted; others, as their packages' documentation states."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from cortex.core.cost import Counts, JudgeCost, Stage, weight_bytes
from cortex.core.flops import count_flops
from cortex.core.memory import kept_bytes
from cortex.data.picture_sources import find_pictures
from cortex.data.pictures import every_tenth
from cortex.judges.judge import build_judge
from cortex.judges.settings import BundledJudge, JudgeSettings, PretrainedJudge, TrainedJudge
from cortex.judges.stated import stated_judge

COPIES = 4  # of the weights in a training: they, their gradients, two moments of AdamW

# Multiply-adds of an image and parameters, as torchvision's and efficientnet-lite's documentations state them.
PRETRAINED = {
    "vit_b_16": (17.56e9, 86.6e6),
    "vit_b_32": (4.41e9, 88.2e6),
    "resnet18": (1.81e9, 11.7e6),
    "resnet50": (4.09e9, 25.6e6),
    "efficientnet_lite0": (0.41e9, 4.7e6),
}


def judge_cost(settings: JudgeSettings) -> JudgeCost:
    """What a judge of the config costs. Of a judge of an ONNX file or a plug-in, the file's bytes alone are known."""
    if isinstance(settings, TrainedJudge):
        return _trained(settings)
    if isinstance(settings, BundledJudge):
        stated = stated_judge(settings.file())
        network, images = _on_meta(stated.network, stated.arguments)
        return JudgeCost(count_flops(lambda: network(images)) / 2, 0, weight_bytes(network))
    if settings.network in PRETRAINED:
        multiply_adds, parameters = PRETRAINED[settings.network]
        return JudgeCost(2 * multiply_adds, 0, 4 * parameters)
    file = settings.file() if isinstance(settings, PretrainedJudge) else None
    return JudgeCost(0, 0, 0 if file is None else file.stat().st_size)


def _trained(settings: TrainedJudge) -> JudgeCost:
    names = settings.class_names_file()
    source = find_pictures(settings.images, names)
    held_out = source.held_out if settings.held_out is None else find_pictures(settings.held_out, names)
    measured = int(every_tenth(source.labels).sum()) if held_out is None else len(held_out)
    learned = len(source) - (measured if held_out is None else 0)
    arguments = {"classes": len(source.class_names), **settings.network_arguments()}
    network, images = _on_meta(settings.network, arguments)
    forward = count_flops(lambda: network(images)) / 2
    step = count_flops(lambda: network(images).sum().backward()) / 2
    return JudgeCost(forward, settings.epochs * (learned * step + measured * forward), weight_bytes(network))


def training_memory(settings: TrainedJudge, classes: int) -> float:
    """Bytes that a judge's training holds beside its pictures: copies of the weights, and what a step's batch keeps."""
    arguments = {"classes": classes, **settings.network_arguments()}
    network, images = _on_meta(settings.network, arguments, settings.batch)
    return COPIES * weight_bytes(network) + kept_bytes(network, images)


def _on_meta(network: str, arguments: dict[str, Any], images: int = 2) -> tuple[nn.Module, torch.Tensor]:
    """The network and some images of its size, without numbers."""
    with torch.device("meta"):
        return build_judge(network, arguments).train(), torch.empty(images, 3, arguments["size"], arguments["size"])


def costs(counts: Counts) -> Iterator[Stage]:
    """The training of every judge, or its weights from elsewhere."""
    for name, judge in counts.judges.items():
        rule = "train_judge" if isinstance(counts.config.judges[name], TrainedJudge) else "pretrained_judge"
        yield Stage(rule, {"judge": name}, flops=judge.training, written=judge.bytes)

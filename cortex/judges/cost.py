"""What judges cost: those that the run trains, counted; pretrained ones, as their packages' documentation states."""

from collections.abc import Iterator

import torch

from cortex.core.cost import Counts, JudgeCost, Stage, weight_bytes
from cortex.core.flops import count_flops
from cortex.data.digits import CLASS_NAMES, HELD_OUT_PER_CLASS, IMAGE_SIDE, TRAIN_PER_CLASS
from cortex.judges import JUDGES
from cortex.judges.settings import JudgeSettings, TrainedJudge

# Multiply-adds of an image and parameters, as torchvision's and efficientnet-lite's documentations state them.
PRETRAINED = {
    "vit_b_16": (17.56e9, 86.6e6),
    "vit_b_32": (4.41e9, 88.2e6),
    "resnet18": (1.81e9, 11.7e6),
    "resnet50": (4.09e9, 25.6e6),
    "efficientnet_lite0": (0.41e9, 4.7e6),
}


def judge_cost(settings: JudgeSettings) -> JudgeCost:
    """What a judge of the config costs; a pretrained judge of another package states nothing, and costs 0 here."""
    if not isinstance(settings, TrainedJudge):
        multiply_adds, parameters = PRETRAINED.get(settings.network, (0, 0))
        return JudgeCost(2 * multiply_adds, 0, 4 * parameters)
    with torch.device("meta"):
        network = JUDGES.load(settings.network)(classes=len(CLASS_NAMES)).train()
        images = torch.empty(2, 3, IMAGE_SIDE, IMAGE_SIDE)
    forward = count_flops(lambda: network(images)) / 2
    step = count_flops(lambda: network(images).sum().backward()) / 2
    digits = len(CLASS_NAMES) * settings.epochs
    training = digits * (TRAIN_PER_CLASS * step + HELD_OUT_PER_CLASS * forward)
    return JudgeCost(forward, training, weight_bytes(network))


def costs(counts: Counts) -> Iterator[Stage]:
    """The training of every judge, or its weights from elsewhere."""
    for name, judge in counts.judges.items():
        rule = "train_judge" if isinstance(counts.config.judges[name], TrainedJudge) else "pretrained_judge"
        yield Stage(rule, {"judge": name}, flops=judge.training, written=judge.bytes)

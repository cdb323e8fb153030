"""Methods of another package: an extractor, a judge and an attribution. Nothing of cortex names them."""

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from cortex.core.settings import Count
from cortex.core.weights import read_weights
from cortex.extractors.settings import StepTraining
from cortex.judges.settings import PretrainedJudge


class MlpSettings(StepTraining):
    """A network of two layers."""

    shape: ClassVar[frozenset[str]] = frozenset({"hidden"})

    hidden: Count = Field(64, description="units of the first layer")


class MLP(nn.Module):
    """Two fully connected layers on all embeddings of an image."""

    Settings = MlpSettings

    def __init__(self, channels: int, classes: int, grid: tuple[int, int], hidden: int):
        super().__init__()
        self.first = nn.Linear(channels * grid[0] * grid[1], hidden)
        self.last = nn.Linear(hidden, classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of embeddings ``[B, d, h, w]``."""
        return self.last(self.first(embeddings.flatten(1)).relu())


class ColourSettings(PretrainedJudge):
    """A judge of ten colours."""

    classes: ClassVar[int | None] = 10


class MeanColour(nn.Module):
    """The class whose prototype is nearest to an image's mean colour; nothing is trained.

    The prototypes lie on the way from black to white, unless a file has others.
    """

    Settings = ColourSettings

    def __init__(self, classes: int):
        super().__init__()
        self.register_buffer("prototypes", torch.linspace(-1, 1, classes)[:, None].repeat(1, 3))

    @classmethod
    def pretrained(cls, weights: Path | None = None) -> Self:
        judge = cls(classes=10)
        if weights is not None:
            judge.load_state_dict(read_weights(weights)[0])
        return judge

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of images ``[B, 3, H, W]`` in -1..1: distances, below 0."""
        return -torch.cdist(images.mean((2, 3)), self.prototypes)


def absolute_gradient(extractor: nn.Module, embeddings: Tensor, labels: Tensor, context: Any) -> Tensor:
    """The mean over channels of the absolute gradient of the label's logit: ``[B, h, w]``."""
    embeddings = embeddings.detach().requires_grad_()
    logits = extractor(embeddings).gather(1, labels[:, None]).sum()
    (gradient,) = torch.autograd.grad(logits, embeddings)
    return gradient.abs().mean(1)

"""CE: the convolutional extractor, and its deeper variant (METHOD.md, section 3)."""

from collections.abc import Iterator
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F


class CNN(nn.Module):
    """Two stages of four 3×3 convolutions, each stage ending in a 2×2 max-pool, then three fully connected layers.

    Weight names are those of the authors' ClassificationNet1.

    Args:
        channels: channels of a code, d.
        classes: concepts to tell apart.
        grid: (h, w) of a token grid, each at least 4.
        width: channels of every convolution.
        hidden: units of the first two fully connected layers.
        dropout: between those two.
    """

    stages: tuple[int, ...] = (4, 4)

    def __init__(
        self,
        channels: int = 256,
        classes: int = 1000,
        grid: tuple[int, int] = (16, 16),
        width: int = 512,
        hidden: int = 4096,
        dropout: float = 0.5,
    ):
        super().__init__()
        inputs = channels
        for stage, layers in enumerate(self.stages, start=1):
            for layer in range(1, layers + 1):
                self.add_module(f"conv{stage}_{layer}", nn.Conv2d(inputs, width, 3, padding=1))
                self.add_module(f"bn{stage}_{layer}", nn.BatchNorm2d(width))
                inputs = width
        second = self.second_hidden(hidden)
        self.fc1 = nn.Linear(width * (grid[0] // 4) * (grid[1] // 4), hidden)
        self.bn_fc1 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, second)
        self.bn_fc2 = nn.BatchNorm1d(second)
        self.fc3 = nn.Linear(second, classes)

    @staticmethod
    def second_hidden(hidden: int) -> int:
        """Units of the second fully connected layer."""
        return hidden

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of embeddings ``[B, d, h, w]``."""
        x = embeddings
        for convolution, norm, pooled in self.convolutions():
            x = F.relu(norm(convolution(x)))
            if pooled:
                x = F.max_pool2d(x, 2)
        return self.classify(x)

    def convolutions(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d, bool]]:
        """Every convolution, its norm, and whether a pool follows."""
        for stage, layers in enumerate(self.stages, start=1):
            for layer in range(1, layers + 1):
                convolution = cast(nn.Conv2d, self.get_submodule(f"conv{stage}_{layer}"))
                norm = cast(nn.BatchNorm2d, self.get_submodule(f"bn{stage}_{layer}"))
                yield convolution, norm, layer == layers and stage <= 2

    def connected(self) -> Iterator[tuple[nn.Linear, nn.BatchNorm1d]]:
        """Every fully connected layer but the last, with its norm."""
        yield self.fc1, self.bn_fc1
        yield self.fc2, self.bn_fc2

    def last(self) -> nn.Linear:
        """The layer that gives the logits."""
        return self.fc3

    def classify(self, features: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of what comes out of the last convolution, or pool."""
        x = F.relu(self.bn_fc1(self.fc1(features.flatten(1))))
        x = F.relu(self.bn_fc2(self.fc2(self.dropout(x))))
        return self.fc3(x)


class DeepCNN(CNN):
    """CE with two more convolutions after the second pool and a narrower second fully connected layer.

    Weight names are those of the authors' ClassificationNet2.
    """

    stages = (4, 4, 2)

    @staticmethod
    def second_hidden(hidden: int) -> int:
        return hidden // 2

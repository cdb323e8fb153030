"""CE: the convolutional extractor, and its deeper variant (METHOD.md, section 3)."""

from typing import ClassVar

from torch import nn

from cortex.extractors.settings import CnnSettings


class CNN(nn.Sequential):
    """Two stages of four 3×3 convolutions, each stage ending in a 2×2 max-pool, then three fully connected layers.

    It gives logits ``[B, classes]`` of embeddings ``[B, d, h, w]``. Weight names are those of the authors'
    ClassificationNet1.

    Args:
        channels: channels of a code, d.
        classes: concepts to tell apart.
        grid: (h, w) of a token grid, each at least 4.
        width: channels of every convolution.
        hidden: units of the first two fully connected layers.
        dropout: between these two.
    """

    Settings = CnnSettings
    stages: ClassVar[tuple[int, ...]] = (4, 4)  # convolutions of each; a pool ends the first two
    narrowing = 1  # units of the first fully connected layer for one of the second

    def __init__(self, channels: int, classes: int, grid: tuple[int, int], width: int, hidden: int, dropout: float):
        super().__init__()
        for stage, convolutions in enumerate(self.stages, start=1):
            for layer in range(1, convolutions + 1):
                self.add_module(f"conv{stage}_{layer}", nn.Conv2d(channels, width, 3, padding=1))
                self.add_module(f"bn{stage}_{layer}", nn.BatchNorm2d(width))
                self.add_module(f"relu{stage}_{layer}", nn.ReLU())
                channels = width
            if stage <= 2:
                self.add_module(f"pool{stage}", nn.MaxPool2d(2))
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(width * (grid[0] // 4) * (grid[1] // 4), hidden)
        self.bn_fc1 = nn.BatchNorm1d(hidden)
        self.relu_fc1 = nn.ReLU()
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, hidden // self.narrowing)
        self.bn_fc2 = nn.BatchNorm1d(hidden // self.narrowing)
        self.relu_fc2 = nn.ReLU()
        self.fc3 = nn.Linear(hidden // self.narrowing, classes)


class DeepCNN(CNN):
    """CE with two more convolutions after the second pool and a second fully connected layer of half the units.

    Weight names are those of the authors' ClassificationNet2.
    """

    stages = (4, 4, 2)
    narrowing = 2

"""RE: the residual extractor with squeeze-and-excite (METHOD.md, section 3)."""

from torch import Tensor, nn
from torch.nn import functional as F

from cortex.extractors.settings import ResnetSettings


class SqueezeExcite(nn.Module):
    """Scale every channel by what the average over all positions says of it."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, width // 16)
        self.fc2 = nn.Linear(width // 16, width)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.fc2(F.relu(self.fc1(x.mean((2, 3))))).sigmoid()
        return x * scale[:, :, None, None]


class Block(nn.Module):
    """Two 3×3 convolutions beside a shortcut; squeeze-and-excite of their sum."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.se = SqueezeExcite(width)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + self.shortcut(x)
        return F.relu(self.se(y))


class ResNet(nn.Module):
    """Two stages of three blocks, the first of each with stride 2, then two fully connected layers.

    Weight names are those of the authors' ClassificationNet3. Any grid fits: the average is over all positions.

    Args:
        channels: channels of a code, d.
        classes: concepts to tell apart.
        grid: (h, w) of a token grid; the network is the same for all.
        width: channels of every block, at least 16.
        hidden: units of the first fully connected layer.
        dropout: after it.
    """

    Settings = ResnetSettings

    def __init__(self, channels: int, classes: int, grid: tuple[int, int], width: int, hidden: int, dropout: float):
        super().__init__()
        self.layer1 = nn.Sequential(Block(channels, width, 2), Block(width, width, 1), Block(width, width, 1))
        self.layer2 = nn.Sequential(Block(width, width, 2), Block(width, width, 1), Block(width, width, 1))
        self.fc1 = nn.Linear(width, hidden)
        self.bn_fc1 = nn.BatchNorm1d(hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of embeddings ``[B, d, h, w]``."""
        x = self.layer2(self.layer1(embeddings)).mean((2, 3))
        return self.fc2(self.dropout(F.relu(self.bn_fc1(self.fc1(x)))))

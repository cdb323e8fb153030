"""Two small image classifiers for square images of any size that is a multiple of 8."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.judges.settings import ResNetJudge, ViTJudge


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A residual network whose stages halve the resolution until at most 4×4 positions are left.

    Args:
        classes: classes to tell apart.
        size: height and width of an image in pixels.
        width: channels of the first stage; each further stage has twice as many.
    """

    Settings = ResNetJudge

    def __init__(self, classes: int = 10, size: int = 32, width: int = 16):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        stages: list[nn.Module] = []
        channels = width
        while not stages or size > 4:
            stages.append(ResidualBlock(channels, width << len(stages), 2))
            channels, size = width << (len(stages) - 1), -(-size // 2)
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of images ``[B, 3, size, size]`` in -1..1."""
        return self.head(self.stages(self.stem(images)).mean((2, 3)))


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al., ICLR 2021) that averages its tokens instead of adding one.

    With a few thousand images to learn from, its 8×8 patches are embedded by three convolutions of stride 2 rather
    than by one matrix (Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021).

    Args:
        classes: classes to tell apart.
        size: height and width of an image in pixels, a multiple of 8.
        width, layers, heads: of the transformer; its MLPs have twice the width.
    """

    Settings = ViTJudge

    def __init__(self, classes: int = 10, size: int = 32, width: int = 64, layers: int = 4, heads: int = 4):
        super().__init__()
        self.patches = nn.Sequential(
            *(nn.Conv2d(3, width // 4, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width // 4), nn.ReLU()),
            *(nn.Conv2d(width // 4, width // 2, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU()),
            nn.Conv2d(width // 2, width, 3, 2, padding=1),
        )
        self.positions = nn.Parameter(torch.randn(1, (size // 8) ** 2, width) * 0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of images ``[B, 3, size, size]`` in -1..1."""
        x = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.encoder(x)).mean(1))

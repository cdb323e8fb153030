"""TE: the transformer extractor (METHOD.md, section 3)."""

import math

import torch
from torch import Tensor, nn

from cortex.extractors.settings import TransformerSettings


class Layer(nn.Module):
    """Self-attention and an MLP, each between a layer norm before and a batch norm over channels after."""

    def __init__(self, width: int, heads: int, mlp: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.bn_attn = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, width), nn.Dropout(dropout)
        )
        self.bn_mlp = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        y, _ = self.self_attn(y, y, y, need_weights=False)
        x = x + self.dropout(self.bn_attn(y.transpose(1, 2)).transpose(1, 2))
        y = self.mlp(self.norm2(x))
        return x + self.bn_mlp(y.transpose(1, 2)).transpose(1, 2)


class Transformer(nn.Module):
    """Every token projected, a class token in front, learned positions, a stack of layers, a small head.

    Weight names are those of the authors' ClassificationNet4.

    Args:
        channels: channels of a code, d.
        classes: concepts to tell apart.
        grid: (h, w) of a token grid.
        width: channels of a token inside, a multiple of ``heads``.
        layers, heads, mlp: depth, attention heads, units of the MLPs.
        hidden: units of the head's first fully connected layer.
        dropout: everywhere.
        initial_deviation: standard deviation of the initial class token and positions.
    """

    Settings = TransformerSettings

    def __init__(
        self,
        channels: int,
        classes: int,
        grid: tuple[int, int],
        width: int,
        layers: int,
        heads: int,
        mlp: int,
        hidden: int,
        dropout: float,
        initial_deviation: float,
    ):
        super().__init__()
        self.scale = math.sqrt(width)
        self.proj = nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width), nn.GELU())
        self.cls_token = nn.Parameter(torch.randn(1, 1, width) * initial_deviation)
        self.pos_embed = nn.Parameter(torch.randn(1, grid[0] * grid[1] + 1, width) * initial_deviation)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.ModuleList(Layer(width, heads, mlp, dropout) for _ in range(layers))
        self.final_norm = nn.LayerNorm(width)
        self.pre_classifier = nn.Sequential(
            nn.Linear(width, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Dropout(dropout)
        )
        self.fc = nn.Linear(hidden, classes)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits ``[B, classes]`` of embeddings ``[B, d, h, w]``."""
        tokens = self.proj(embeddings.flatten(2).transpose(1, 2)) * self.scale
        x = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        x = self.dropout(x + self.pos_embed)
        for layer in self.encoder:
            x = layer(x)
        return self.fc(self.pre_classifier(self.final_norm(x[:, 0])))

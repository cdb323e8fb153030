"""Extractors at the published sizes, as the released scripts have them and as ours."""

import copy

import torch
from torch import nn

from cortex.core.device import place
from cortex.extractors.network import build_extractor

CODES, CHANNELS, CLASSES, GRID = 16384, 256, 1000, (16, 16)  # the paper's


def published(name: str) -> nn.Module:
    """An extractor of the published widths as the released scripts hold it, in eval mode: see :func:`settled`."""
    torch.manual_seed(0)
    network = build_extractor(name, channels=CHANNELS, classes=CLASSES, grid=GRID)
    return settled(network, CHANNELS, GRID)


def settled(network: nn.Module, channels: int, grid: tuple[int, int]) -> nn.Module:
    """The network in eval mode, with norms whose statistics are those of random embeddings.

    Without them, an untrained network's gradients fade to nothing from layer to layer, and so does every difference
    that a check could find.
    """
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.momentum = None  # the statistics become those of the next batch
    with torch.no_grad():
        network.train()(torch.randn(8, channels, *grid))
    return network.eval()


def frozen(network: nn.Module) -> nn.Module:
    """A copy of an extractor as our stages hold it."""
    return place(copy.deepcopy(network), torch.device("cpu")).requires_grad_(False)

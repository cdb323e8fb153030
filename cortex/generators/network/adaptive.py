"""Adaptive norms: a condition scales, shifts and gates what a layer computes (Peebles and Xie, 2023)."""

from torch import Tensor, nn


def adaptive(width: int, parts: int) -> nn.Sequential:
    """From a condition to so many vectors; the first module has no weights."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, parts * width))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """What a norm gives, scaled around 1 and shifted."""
    return x * (scale + 1) + shift

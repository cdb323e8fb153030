"""What a taming generator costs, counted on its networks without weights.

A FLOP is an addition or a multiplication; what is not a matrix product or a convolution is left out.
"""

from typing import Any

import torch
from torch import nn

from cortex.core.cost import GeneratorCost
from cortex.core.flops import count_flops
from cortex.generators.taming.architecture import spec_of
from cortex.generators.taming.networks import CONSTANT, empty_networks


def cost_of(architecture: dict[str, Any], *, batch: int, half: bool) -> GeneratorCost:
    """Cost of an architecture.

    Args:
        architecture: see :mod:`cortex.generators.taming.architecture`.
        batch: grids that are sampled at once.
        half: whether the GPT's large products and its cache are of 16 bits.
    """
    spec, transformer, networks = spec_of(architecture), architecture["transformer"], empty_networks(architecture)
    vqgan: Any = networks["first_stage_model"]
    grid = torch.zeros(1, *spec.grid, dtype=torch.int64, device="meta")
    steps = spec.grid[0] * spec.grid[1]
    sample_bytes, prior_flops = 0.0, []
    if transformer is not None:
        sample_bytes = sampling_bytes(transformer, steps, batch, 2 if half else 4)
        prior_flops = [token_flops(transformer, passed) for passed in range(steps + 1)]
    return GeneratorCost(
        sample_flops=prior_flops[-1] if prior_flops else 0.0,
        sample_bytes=sample_bytes,
        decode_flops=count_flops(lambda: vqgan.decode(grid)),
        prior_flops=tuple(prior_flops),
        weights_bytes=weight_bytes(networks),
    )


def token_flops(transformer: dict[str, Any], steps: int) -> float:
    """FLOP of the GPT for a sequence of ``steps`` tokens, drawn with a key/value cache."""
    width, layers = transformer["n_embd"], transformer["n_layer"]
    weights = layers * 12 * width**2 + width * transformer["vocab_size"]
    attention = layers * 2 * width * steps * (steps + 1) / 2  # query · key and weight · value, over all so far
    return 2 * (steps * weights + attention)


def cache_bytes(transformer: dict[str, Any], steps: int, size: int) -> float:
    """Bytes of keys and values, of ``size`` bytes a number, that drawing a sequence reads."""
    return transformer["n_layer"] * 2 * transformer["n_embd"] * size * steps * (steps + 1) / 2


def sampling_bytes(transformer: dict[str, Any], steps: int, batch: int, size: int) -> float:
    """Bytes that drawing a sequence reads: its cache, and its share of the weights, which a batch reads once a step."""
    weights = 4 * transformer["n_embd"] * transformer["vocab_size"]  # the head stays float32
    weights += size * 12 * transformer["n_layer"] * transformer["n_embd"] ** 2
    return cache_bytes(transformer, steps, size) + steps * weights / batch


def weight_bytes(networks: nn.ModuleDict) -> float:
    """Bytes of the weights in float32, as a folder holds them."""
    return sum(4 * weight.numel() for name, weight in networks.state_dict().items() if not name.endswith(CONSTANT))

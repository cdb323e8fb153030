"""What a generator made of networks costs, counted without weights.

A FLOP is an addition or a multiplication; what is not a matrix product or a convolution is left out.
"""

from __future__ import annotations

from typing import Any

import torch

from cortex.core.cost import GeneratorCost, weight_bytes
from cortex.core.flops import count_flops
from cortex.generators.network.build import empty_networks
from cortex.generators.network.described import Described


def cost_of(family: Described, architecture: dict[str, Any], *, batch: int, half: bool) -> GeneratorCost:
    """Cost of an architecture.

    Args:
        family: of the architecture.
        architecture: see :mod:`cortex.generators.network.architecture`.
        batch: rows that are sampled at once.
        half: whether the prior's large products and its cache are of 16 bits.
    """
    spec, prior, networks = family.spec_of(architecture), architecture["prior"], empty_networks(family, architecture)
    tokenizer: Any = networks["first_stage_model"]
    grid = torch.zeros(1, *spec.grid, dtype=torch.int64, device="meta")
    steps, weights = spec.grid[0] * spec.grid[1], weight_bytes(networks)
    decode_flops = count_flops(lambda: tokenizer.decode(grid))
    if prior is None:
        return GeneratorCost(0.0, 0.0, decode_flops, (), weights)
    sizes, size = family.prior_size(prior), 2 if half else 4
    return GeneratorCost(
        sample_flops=sizes.token_flops(steps),
        sample_bytes=sizes.sampling_bytes(steps, batch, size),
        decode_flops=decode_flops,
        prior_flops=() if family.masked else tuple(sizes.token_flops(passed) for passed in range(steps + 1)),
        weights_bytes=weights,
        sampling_memory=weights + sizes.more_bytes(size) + batch * sizes.kept_bytes(steps, size),
    )

"""A prior that draws tokens row by row, as a likelihood of grids."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from cortex.generators.network.raster import TokenSteps


class RasterNetwork(Protocol):
    """The network of a prior that draws tokens row by row: an ``nn.Module`` with these methods."""

    def all_logits(self, classes: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, n + 1, K]`` of the tokens at positions 0 to n, given the classes and n tokens ``[B, n]``."""
        ...

    def steps(self, precision: torch.dtype) -> TokenSteps:
        """The network as the sampler drives it; what it holds may be converted in place."""
        ...


class RasterPrior:
    """Likelihoods of grids: each token given the class and all tokens before it, row by row.

    Args:
        network: in eval mode, float32: a forward pass mixes no precisions.
        null_class: the class index that stands for no class; None: the network knows none.
    """

    def __init__(self, network: RasterNetwork, null_class: int | None = None):
        self.network, self.null_class = network, null_class

    @torch.inference_mode()
    def log_probabilities(self, classes: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
        """Log-probabilities of all codes at some positions; see :class:`cortex.generators.base.Prior`.

        One pass for all positions (teacher forcing). What stands after the last of the positions does not matter.
        """
        logits = self.network.all_logits(classes, tokens[:, : max(positions)])
        return logits[:, list(positions)].log_softmax(-1)

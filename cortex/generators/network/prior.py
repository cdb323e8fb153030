"""Networks of priors, and the likelihoods of grids that those state that draw tokens row by row."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from cortex.generators.network.raster import Step
from cortex.generators.sampling import Sampling


class Sampler(Protocol):
    """What draws grids."""

    def numbers(self, positions: int, sampling: Sampling) -> int:
        """Uniform numbers that a sample takes.

        Raises:
            InputError: the generator has none of the options.
        """
        ...

    def draw(self, classes: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
        """Token sequences int64 ``[B, P]``, one for every class of ``[B]``, of uniform numbers ``[B, n]``."""
        ...


class PriorNetwork(Protocol):
    """The network of a prior: an ``nn.Module`` with this method."""

    def sampler(self, precision: torch.dtype, how: Step, null_class: int | None) -> Sampler:
        """The network's sampler; what the network holds may be converted in place."""
        ...


class RasterNetwork(PriorNetwork, Protocol):
    """The network of a prior that draws tokens row by row."""

    def all_logits(self, classes: Tensor, tokens: Tensor) -> Tensor:
        """Logits ``[B, n + 1, K]`` of the tokens at positions 0 to n, given the classes and n tokens ``[B, n]``."""
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

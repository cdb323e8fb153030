"""Train a codebook by moving averages, and keep all of its codes in use (Razavi et al., NeurIPS 2019).

A code is the mean of the encoder's outputs that chose it lately.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from cortex.generators.nearest import nearest_codes
from cortex.generators.network.vqgan import VQGAN

KEPT = 0.99  # of a moving average, a step
RARE = 0.05  # a code chosen less often than this share of the average is restarted
RESTART_EVERY = 20  # steps


class Codebook:
    """The codebook of a VQGAN in training.

    Args:
        model: the VQGAN; its codebook is changed in place.
        random: draws the vectors that codes are restarted at.
    """

    def __init__(self, model: VQGAN, random: torch.Generator):
        self.codes, self.random = model.codebook.requires_grad_(False), random
        self.counts = torch.zeros(len(self.codes), device=self.codes.device)  # positions a step, moving averages
        self.sums = torch.zeros_like(self.codes)  # of the vectors at them

    @property
    def share(self) -> Tensor:
        """Share of the positions that chose each code, ``[K]``."""
        return self.counts / self.counts.sum().clamp_min(1e-12)

    def quantize(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize encoder outputs ``[B, d, h, w]``.

        Returns:
            The codes at every position, ``[B, d, h, w]``, through which gradients pass straight; the commitment loss
            (mean squared distance of the outputs from their codes); and the chosen tokens ``[B, h, w]``.
        """
        chosen = nearest_codes(vectors.detach().permute(0, 2, 3, 1), self.codes)
        codes = self.codes[chosen].permute(0, 3, 1, 2)
        return vectors + (codes - vectors).detach(), F.mse_loss(vectors, codes), chosen

    @torch.no_grad()
    def update(self, vectors: Tensor, chosen: Tensor) -> None:
        """Move the codes towards the vectors ``[B, d, h, w]`` that chose them, tokens ``[B, h, w]``."""
        flat, tokens = vectors.permute(0, 2, 3, 1).flatten(0, 2), chosen.flatten()
        self.counts.lerp_(tokens.bincount(minlength=len(self.codes)).to(self.counts), 1 - KEPT)
        self.sums.lerp_(torch.zeros_like(self.sums).index_add_(0, tokens, flat), 1 - KEPT)
        used = self.counts > 1e-6
        self.codes[used] = self.sums[used] / self.counts[used, None]

    @torch.no_grad()
    def restart(self, vectors: Tensor, everything: bool = False) -> int:
        """Put rare codes, or all, at vectors ``[B, d, h, w]`` that lie far from the others; the number of these codes.

        Vectors are drawn in proportion to their squared distance from their nearest code, as k-means++ does.
        """
        flat = vectors.permute(0, 2, 3, 1).flatten(0, 2)
        average = self.counts.mean()
        rare = torch.ones_like(self.counts, dtype=torch.bool) if everything else self.counts < RARE * average
        marked = rare.nonzero()[: len(flat), 0]
        if not len(marked):
            return 0
        if rare.all():
            weights = torch.ones(len(flat))
        else:
            weights = torch.cdist(flat, self.codes[~rare]).amin(1).square().cpu() + 1e-12
        drawn = torch.multinomial(weights, len(marked), replacement=False, generator=self.random).to(flat.device)
        # As if each had been chosen half as often as the average: it has time to find its vectors.
        start = average / 2 if average > 0 else torch.ones(())
        self.codes[marked] = flat[drawn]
        self.counts[marked] = start
        self.sums[marked] = flat[drawn] * start
        return len(marked)

    def state_dict(self) -> dict[str, Tensor]:
        return {"counts": self.counts, "sums": self.sums}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.counts, self.sums = (state[name].to(self.codes.device).clone() for name in ("counts", "sums"))

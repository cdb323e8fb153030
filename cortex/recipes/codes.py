"""Keep all codes of a codebook in use: those that no position chose are put where the encoder's outputs are."""

import torch
from torch import Tensor

from cortex.generators.taming.vqgan import VQGAN


class CodeUse:
    """What a training knows of the use of its codes.

    Args:
        codes: codes of the codebook, K.
    """

    def __init__(self, codes: int):
        self.unused = torch.ones(codes, dtype=torch.bool)  # since the last restart
        self.share = torch.full((codes,), 1 / codes)  # of the positions, a running average

    def note(self, chosen: Tensor) -> None:
        """Note the codes that the positions of a step chose, int64 of any shape."""
        self.share.lerp_(chosen.flatten().bincount(minlength=len(self.share)) / chosen.numel(), 0.02)
        self.unused[chosen.flatten()] = False

    def state_dict(self) -> dict[str, Tensor]:
        return {"unused": self.unused, "share": self.share}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.unused, self.share = state["unused"].clone(), state["share"].clone()


@torch.no_grad()
def restart_codes(
    model: VQGAN, optimizer: torch.optim.Optimizer, vectors: Tensor, which: Tensor, random: torch.Generator
) -> None:
    """Put the codes marked in ``which`` ``[K]`` at encoder outputs ``[B, d, h, w]`` that lie far from any code.

    Outputs are drawn in proportion to their squared distance from their nearest code.
    """
    flat = vectors.permute(0, 2, 3, 1).flatten(0, 2)
    marked = which.nonzero()[: len(flat), 0]
    if not len(marked):
        return
    if which.all():
        weights = torch.ones(len(flat))
    else:
        weights = torch.cdist(flat, model.codebook[~which]).amin(1).square() + 1e-12
    drawn = torch.multinomial(weights, len(marked), replacement=False, generator=random)
    model.codebook[marked] = flat[drawn]
    for moment in optimizer.state.get(model.codebook, {}).values():
        if moment.shape == model.codebook.shape:
            moment[marked] = 0

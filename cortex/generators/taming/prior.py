"""The GPT as a prior of token grids."""

from collections.abc import Sequence

import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor


class GptPrior:
    """Likelihoods of grids under the GPT: each token given the class and all tokens before it, row by row.

    Args:
        gpt: in eval mode, float32: a forward pass mixes no precisions.
        null_class: the class index that stands for no class; None: the GPT knows none.
    """

    def __init__(self, gpt: GPT, null_class: int | None = None):
        self.gpt, self.null_class = gpt, null_class

    @torch.inference_mode()
    def log_probabilities(self, classes: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
        """Log-probabilities of all codes at some positions; see :class:`cortex.generators.base.Prior`.

        One pass for all positions (teacher forcing): the GPT's output at a place is its distribution of the next
        token, and the class comes before the first. What stands after the last of the positions does not matter.
        """
        context = torch.cat([classes[:, None], tokens[:, : max(positions)]], dim=1)
        logits, _ = self.gpt(context)
        return logits[:, list(positions)].log_softmax(-1)

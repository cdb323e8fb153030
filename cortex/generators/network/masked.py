"""Draw token grids in a few steps, each of which draws tokens of many positions at once (Chang et al., 2022).

A grid begins as masks. A step draws a code for every position, by inverse CDF, and keeps the codes of some. Numbers of
a sample are those of the codes, position by position and step by step, and then those of the choice of positions. A
guided sample has two rows in the batch, one given its class and one given the null class.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

from cortex.core.errors import InputError
from cortex.generators.choice import choose_tokens, classes_of_rows, guide
from cortex.generators.sampling import Sampling

LEAST = 2.0**-54  # stands for the number 0, whose Gumbel noise would be infinite


class MaskedNetwork(Protocol):
    """The network of a prior that draws in steps: an ``nn.Module`` with these members.

    ``positions`` are those of a grid, P. ``codes`` is K, and the mask's index in a grid.
    """

    positions: int
    codes: int

    def logits(self, classes: Tensor, tokens: Tensor, precision: torch.dtype) -> Tensor:
        """Logits float32 ``[rows, P, K + 1]`` of all positions, the mask's last, given classes and grids ``[rows, P]``.

        ``precision`` is that of the large products.
        """
        ...


class Choice(Protocol):
    """Which positions of a grid keep the codes that a step drew."""

    def numbers(self, steps: int, positions: int) -> int:
        """Uniform numbers that a sample's choices take."""
        ...

    def kept(self, step: int, masks: Tensor, confidence: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
        """The positions, bool ``[B, P]``.

        Args:
            step: from 0 on.
            masks: bool ``[B, P]``, where no code is kept yet.
            confidence: log-probabilities ``[B, P]`` of the codes that this step drew.
            numbers: uniform numbers of the sample's choices, float64 ``[B, n]``.
            sampling: options.
        """
        ...


class MostConfident:
    """The positions whose codes are most probable, with Gumbel noise that falls to none at the last step."""

    def numbers(self, steps: int, positions: int) -> int:
        return steps * positions

    def kept(self, step: int, masks: Tensor, confidence: Tensor, numbers: Tensor, sampling: Sampling) -> Tensor:
        positions, steps = masks.shape[1], sampling.steps or 1
        uniforms = numbers[:, step * positions : (step + 1) * positions].clamp_min(LEAST)
        share = 1 - step / max(steps - 1, 1)
        noisy = confidence - sampling.choice_temperature * share * (-uniforms.log()).log()
        best = noisy.masked_fill(~masks, float("-inf")).topk(counts(steps, positions)[step], dim=1).indices
        return torch.zeros_like(masks).scatter_(1, best, True)


def counts(steps: int, positions: int) -> list[int]:
    """Positions whose codes each step keeps, along an arc cosine: few at first, many at the end.

    As the authors of MaskGIT-pytorch compute it, in float32; at most all that are left.
    """
    arcs = torch.arccos(torch.linspace(1, 0, steps)) / (math.pi * 0.5)
    wanted = (arcs / arcs.sum() * positions).round().nan_to_num().clamp_min(1).int().tolist()
    left, found = positions, []
    for step, count in enumerate(wanted):
        found.append(left if step == steps - 1 else min(count, left))
        left -= found[-1]
    return found


class MaskedSampler:
    """Draws token grids, batch after batch.

    Args:
        network: in eval mode.
        choice: of positions.
        precision: float32 or bfloat16, of the large products.
        null_class: the class of a context of no class; None: the network learned none, and cannot be guided.
    """

    def __init__(self, network: MaskedNetwork, choice: Choice, precision: torch.dtype, null_class: int | None = None):
        self.network, self.choice, self.precision, self.null_class = network, choice, precision, null_class

    def numbers(self, positions: int, sampling: Sampling) -> int:
        """Uniform numbers that a sample takes.

        Raises:
            InputError: the options state no steps.
        """
        if sampling.steps is None:
            raise InputError("steps null: the generator draws in steps: allowed: a number from 1 on")
        return sampling.steps * positions + self.choice.numbers(sampling.steps, positions)

    @torch.inference_mode()
    def draw(self, classes: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
        """Token sequences int64 ``[B, P]``, one for every class of ``[B]``.

        Args:
            classes: int64 ``[B]``, what each grid is given.
            uniforms: float64 ``[B, n]`` in [0, 1), the only randomness; :meth:`numbers` states n.
            sampling: options.

        Raises:
            InputError: with guidance, there is no null class; or the options state no steps.
        """
        given = classes_of_rows(classes, self.null_class, sampling)
        positions, steps = self.network.positions, sampling.steps or 0
        of_codes, of_choice = uniforms.split([steps * positions, self.choice.numbers(steps, positions)], dim=1)
        grids = torch.full((len(classes), positions), self.network.codes, device=classes.device)
        masks, strengths = torch.ones_like(grids, dtype=torch.bool), sampling.strengths(steps)
        for step, numbers in enumerate(of_codes.split(positions, dim=1)):
            logits = self.network.logits(given, grids.repeat(sampling.rows, 1), self.precision)
            if sampling.rows == 2:
                logits = guide(logits, strengths[step])
            flat = logits.flatten(0, 1)
            drawn = choose_tokens(flat, numbers.flatten(), **sampling.choice)
            confidence = (flat.double() / sampling.temperature).log_softmax(1).gather(1, drawn[:, None])
            kept = self.choice.kept(step, masks, confidence.view_as(masks), of_choice, sampling)
            grids, masks = torch.where(kept, drawn.view_as(grids), grids), masks & ~kept
        return grids.clamp_max(self.network.codes - 1)  # a mask may be drawn, too: its authors decode the last code

"""Token selection that stays likely: the generator's prior has a say in the codebook search (METHOD.md, section 9).

The target's logit alone does not ask whether the generator would ever draw the codes that raise it. Here it is
maximised together with the log-likelihood of the region's codes under the generator's GPT, conditioned on the target
class. With a weight of 1 this is the logarithm of a product of two experts, as in classifier guidance: the generator
says what is drawn for the class, the extractor what reads as it. A smaller weight leaves more to the extractor.

The GPT's gradient is cut short. The objective is linear in the one-hot code of a position through the output of the
GPT there, and this part of its straight-through gradient is exact: the log-probability of every code, given the codes
before. That a code also changes what is likely after it is left out of the gradient, but not out of the value: the
log-probabilities are taken anew, given the most probable codes so far, every few steps. So a step costs no backward
pass through the GPT, and only some cost a forward pass, which with a GPT of 1.4 billion weights decides whether the
search can be paid.
"""

from pathlib import Path

from taming.modules.transformer.mingpt import GPT
from torch import Tensor

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds
from cortex.core.tables import write_table
from cortex.explain.codebook_search import (
    PURPOSE,
    Part,
    PriorBonus,
    Record,
    Region,
    pair_up,
    search_images,
    select_tokens,
)
from cortex.generators.taming.generator import load_generator
from cortex.generators.taming.likelihood import log_probabilities, prior_of
from cortex.studies.transfer.metrics import WITH_PRIOR


def search_with_prior(
    output: Path,
    shards: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    sources: list[int],
    targets: list[int],
    generator: Path | None = None,
    prior_weights: list[float],
    refresh_every: int = 10,
    top: int = 7,
    left: int = 7,
    height: int = 4,
    width: int = 4,
    images_per_class: int = 50,
    steps: int = 5000,
    record_every: int = 500,
    learning_rate: float = 0.01,
    temperature: float = 1.0,
    batch: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Search the codebook for tokens that read as another class and that the generator would draw for it.

    Args:
        output: Parquet to write, with the columns of the codebook search's; methods are token_selection_prior_W,
            one a weight W.
        shards: tars of the test split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        sources: classes whose images are changed.
        targets: the class that each of them is changed to, in the same order.
        generator: weights file of the generator; the embedded digits generator if not given.
        prior_weights: of the log-likelihood (nats, all of the region's tokens together) beside the target's logit; a
            search for each.
        refresh_every: steps between two forward passes of the generator's transformer.
        top: first row of the region, from 0.
        left: first column of the region, from 0.
        height: rows of the region.
        width: columns of the region.
        images_per_class: images of every source class, the first in the shards' order.
        steps: optimisation steps.
        record_every: steps between two records.
        learning_rate: of Adam.
        temperature: of the Gumbel-softmax.
        batch: images searched at once.
        seed: of the initial logits and the Gumbel noise, which are those of the search without a prior.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    gpt = prior_of(load_generator(generator, on, precision="float32"))
    if gpt is None:
        raise InputError("this generator is a VQGAN without a transformer: it has no prior to stay likely under")

    def methods(part: Part) -> dict[str, Record]:
        return {
            f"{WITH_PRIOR}_{weight}": select_tokens(
                part.target_logits,
                part.codebook,
                key_seeds(seed, PURPOSE, part.keys).tolist(),
                len(part.positions),
                steps=steps,
                record_every=record_every,
                learning_rate=learning_rate,
                temperature=temperature,
                prior_bonus=prior_bonus_of(gpt, part.targets, part.grids, part.positions, weight),
                refresh_every=refresh_every,
            )
            for weight in prior_weights
        }

    region, target_of = Region(top, left, height, width), pair_up(sources, targets)
    write_table(
        output,
        search_images(shards, extractor, codebook, methods, target_of, region, images_per_class, batch, on),
    )


def prior_bonus_of(gpt: GPT, classes: Tensor, grids: Tensor, positions: list[int], weight: float) -> PriorBonus:
    """``weight`` × the log-probability of every code in the region ``[B, p, K]``, given the region's tokens ``[B, p]``.

    Args:
        gpt: in eval mode, float32.
        classes: int64 ``[B]``, what the images are conditioned on.
        grids: int64 ``[B, h, w]``; the region's tokens are replaced.
        positions: p of the region, in the flattened grid.
        weight: of the log-probabilities.
    """

    def prior_bonus(tokens: Tensor) -> Tensor:
        edited = grids.flatten(1).clone()
        edited[:, positions] = tokens
        return weight * log_probabilities(gpt, classes, edited, positions)

    return prior_bonus

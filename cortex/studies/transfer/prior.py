"""Token selection that stays likely under the generator's prior (METHOD.md, section 9).

The search of the method maximises the target's logit alone, whether the generator would ever draw the codes or not.
Here the objective also has the log-likelihood of the region's codes under the generator's prior, conditioned on the
target class. With a weight of 1 it is the logarithm of a product of two experts, as in classifier guidance: the prior
states the codes that are drawn for the class, the extractor the codes that read as it.

The gradient of the prior is approximate. The objective is linear in the one-hot code of a position through the
prior's output there, and this part of the straight-through gradient is exact: the log-probability of every code,
given the codes before. The effect of a code on the likelihood of later codes is left out of the gradient. The
log-probabilities are evaluated again every few steps, given the most probable codes so far. So no step costs a
backward pass through the prior, and few cost a forward pass, which would be most of the time with 1.4 billion weights.
"""

from pathlib import Path

from torch import Tensor

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import write_table
from cortex.explain.codebook_search import Part, PriorBonus, Record, search_images, token_selection
from cortex.explain.settings import CodebookSearch
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Prior
from cortex.generators.load import load_generator
from cortex.studies.transfer.metrics import WITH_PRIOR
from cortex.studies.transfer.settings import PriorSearch


def search_with_prior(
    output: Path,
    tokens: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    search: CodebookSearch,
    prior: PriorSearch,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Search the codebook for tokens of another class that are likely under the generator's prior.

    Args:
        output: Parquet to write, with the columns of the codebook search; methods are token_selection_prior_W, for
            every weight W.
        tokens: token tables of the test split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        search: settings of the codebook search.
        prior: settings of the prior in the objective.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
        seed: seed of the initial logits and the Gumbel noise, the same as in the search without a prior.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    of_generator = load_generator(generator, on, family=family, precision="float32").prior()
    if of_generator is None:
        raise InputError("the generator has no prior: prior_weights should be []")

    def methods(part: Part) -> dict[str, Record]:
        return {
            f"{WITH_PRIOR}_{weight}": token_selection(
                part,
                search.optimisation(),
                seed,
                prior_bonus=prior_bonus_of(of_generator, part.targets, part.grids, part.positions, weight),
                refresh_every=prior.refresh_every,
            )
            for weight in prior.prior_weights
        }

    write_table(output, search_images(tokens, extractor, codebook, methods, search, on))


def prior_bonus_of(prior: Prior, classes: Tensor, grids: Tensor, positions: list[int], weight: float) -> PriorBonus:
    """``weight`` × the log-probability of every code in the region ``[B, p, K]``, given the region's tokens ``[B, p]``.

    Args:
        prior: the generator's.
        classes: int64 ``[B]``, the condition of the images.
        grids: int64 ``[B, h, w]``; the region's tokens are replaced.
        positions: p of the region, in the flattened grid.
        weight: factor of the log-probabilities.
    """

    def prior_bonus(tokens: Tensor) -> Tensor:
        edited = grids.flatten(1).clone()
        edited[:, positions] = tokens
        return weight * prior.log_probabilities(classes, edited, positions)

    return prior_bonus

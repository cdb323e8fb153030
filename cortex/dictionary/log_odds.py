"""Log-odds of a code in a class against the other classes, with an interval over images."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from cortex.dictionary.occurrences import Numbers, Occurrences
from cortex.evaluate.estimates import LEVEL


def log_odds(found: Occurrences) -> tuple[Numbers, Numbers, Numbers]:
    """How much higher the odds are that a position holds the token in the pair's label than in the others.

    Logarithm of the ratio of odds, of every pair ``[n]``, and the ends of its 95 % interval; NaN of a single label.
    Both sides are smoothed alike by the code's overall share (an informative prior; Monroe et al., 2008): they have one
    more occurrence, and as many more positions without one as there are positions an occurrence overall. The variance
    (delta method) takes images, not positions, as the sample.
    """
    counts, variances = found.counts, found.variances
    positions = found.class_images[found.labels] * found.positions
    overall, all_positions = found.by_code(counts)[found.tokens], found.class_images.sum() * found.positions
    all_variances = found.by_code(variances)[found.tokens]
    prior = all_positions / overall
    here, variance_here = _logit(counts, positions, variances, prior)
    there, variance_there = _logit(overall - counts, all_positions - positions, all_variances - variances, prior)
    value = here - there if found.classes > 1 else np.full(len(counts), np.nan)
    half = stats.norm.isf(LEVEL / 2) * np.sqrt(variance_here + variance_there)
    return value, value - half, value + half


def _logit(
    counts: NDArray[np.number], positions: NDArray[np.number], variances: Numbers, prior: Numbers
) -> tuple[Numbers, Numbers]:
    """The smoothed logit of the share of positions, and its variance."""
    share = (counts + 1) / (positions + 1 + prior)
    logit: Numbers = np.log(share / (1 - share))
    variance: Numbers = (np.maximum(variances, 0) + 1) / ((counts + 1) * (1 - share)) ** 2
    return logit, variance

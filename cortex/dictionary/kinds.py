"""The kind of every code: does it mark a class, do classes share it, is it background, or hardly used?"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import special

from cortex.dictionary.occurrences import Numbers, Occurrences
from cortex.dictionary.settings import Kinds
from cortex.explain.concept_tokens import DIGITS, covering

KINDS = ("marks a class", "shared by classes", "background", "hardly used")
MARKS, SHARED, BACKGROUND, UNUSED = range(len(KINDS))
SURE = 0.9  # a label of a lower probability is weak


@dataclass(frozen=True)
class CodeKinds:
    """Kinds of K codes.

    Args:
        kinds: numbers of :data:`KINDS`, int64 ``[K]``.
        sure: probability that the code is of this kind, given the images, float64 ``[K]``.
        class_share: share of the code's class of highest share; 0 of a code that does not occur.
        same_class: how many times as often as by chance occurrences of two images are of one class; 0 of a code that
            does not occur.
        classes: lists of labels: the fewest, of highest share, that have the share that marks a class; empty for codes
            of the background and codes that are hardly used.
    """

    kinds: NDArray[np.int64]
    sure: Numbers
    class_share: Numbers
    same_class: Numbers
    classes: pa.ListArray


def kinds_of(found: Occurrences, settings: Kinds) -> CodeKinds:
    """The kinds of all codes, by their occurrences (METHOD.md, section 12).

    Labels count the same, whatever their number of images. Probabilities are those of a normal approximation over
    images.
    """
    shares, order = found.class_shares(), np.lexsort((found.labels, found.tokens))
    best = np.full(found.codes, -1)
    by_share = order[np.lexsort((-shares[order], found.tokens[order]))]
    best[found.tokens[by_share[::-1]]] = by_share[::-1]  # the last one written is the first of its code
    needed = marking_share(settings, found.classes)
    marking = _marking(found, best, needed) if found.classes > 1 else np.zeros(found.codes)
    concentrated, same_class = _concentrated(found, settings.shared)
    images = found.by_code(found.images)
    least = settings.least_share * found.class_images.sum() / found.classes
    kinds = np.select([images < least, marking >= 0.5, concentrated >= 0.5], [UNUSED, MARKS, SHARED], BACKGROUND)
    sure = np.choose(
        kinds,
        [
            marking,
            np.minimum(concentrated, 1 - marking),
            np.minimum(1 - concentrated, 1 - marking),
            special.gammainc(images + 0.5, least),
        ],
    )
    class_share = np.where(best >= 0, shares[best], 0)
    named = by_share[covering(found.tokens[by_share], shares[by_share], needed)]
    named = named[kinds[found.tokens[named]] <= SHARED]
    offsets = np.concatenate([[0], np.bincount(found.tokens[named], minlength=found.codes).cumsum()])
    labels = pa.array(found.labels[named], pa.int32())
    classes = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), labels)
    return CodeKinds(kinds, sure, class_share, same_class, classes)


def marking_share(settings: Kinds, classes: int) -> float:
    """The least share of its occurrences that a code has in a class that it marks."""
    chance = 1 / classes
    return chance + settings.marks * (1 - chance)


def _marking(found: Occurrences, best: NDArray[np.int64], needed: float) -> Numbers:
    """Probability that the class of highest share, the pair ``best`` of each code, has more than the needed share.

    Rate of the class less ``needed`` times the sum of all rates: a linear function of the classes' means.
    """
    rates, variances = found.rates, found.variances / found.class_images[found.labels] ** 2
    total = found.by_code(rates)
    difference = np.where(best >= 0, rates[best], 0) - needed * total
    of_best = np.where(best >= 0, variances[best], 0)
    others = np.maximum(found.by_code(variances) - of_best, 0)
    return _above_zero(difference, (1 - needed) ** 2 * of_best + needed**2 * others, total)


def _concentrated(found: Occurrences, times: float) -> tuple[Numbers, Numbers]:
    """Probability that occurrences of two images are of one class at least so many times as often as by chance.

    Also the estimate of this number, from pairs of different images of the same class: it has no bias from few images.
    """
    rates, variances = found.rates, found.variances / found.class_images[found.labels] ** 2
    total, same = found.by_code(rates), found.by_code(rates**2 - variances)
    slope = 2 * rates - 2 * times / found.classes * total[found.tokens]
    excess = same - times / found.classes * total**2
    probability = _above_zero(excess, found.by_code(slope**2 * variances), total**2)
    lift = np.divide(found.classes * same, total**2, out=np.zeros(found.codes), where=total > 0)
    return probability, lift


def _above_zero(mean: Numbers, variance: Numbers, unit: Numbers) -> Numbers:
    """Probability that a normal variable is above zero; one half where it is zero for certain, but for rounding.

    Args:
        mean, variance: of the variable, ``[K]``.
        unit: what its rounding errors are small against, ``[K]``.
    """
    unit = np.where(unit > 0, unit, 1)
    found: Numbers = special.ndtr(np.round(mean / unit, DIGITS) / np.sqrt(variance / unit**2 + np.finfo(float).tiny))
    return found

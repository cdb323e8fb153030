"""Occurrences of simulated codes: every code of the codebook is an experiment of its own."""

import numpy as np

from cortex.dictionary.occurrences import Occurrences

POSITIONS = 64


def simulated(rng, rates, images, codes, clumping=1.0):
    """Occurrences of codes whose number in an image is negative binomial.

    Args:
        rng: of the numbers.
        rates: mean number in an image of each class.
        images: of each class.
        codes: experiments.
        clumping: variance of the number in units of its mean; 1: Poisson's.
    """
    counts = []
    for rate in rates:
        if clumping == 1:
            counts.append(rng.poisson(rate, (images, codes)))
        else:
            counts.append(rng.negative_binomial(rate / (clumping - 1), 1 / clumping, (images, codes)))
    times = np.stack(counts)
    labels, tokens = times.sum(1).nonzero()
    sums = [values.sum(1)[labels, tokens] for values in (times, times > 0, times**2)]
    heat = np.zeros((codes, POSITIONS), np.int64)
    return Occurrences(codes, (8, 8), np.full(len(rates), images), labels, tokens, *sums, heat)

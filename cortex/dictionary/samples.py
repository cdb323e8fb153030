"""The sample of test images on which the causes are measured: images of a class that hold a code."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.core.randomness import key_seeds, sample_seeds, uniforms
from cortex.data.tokens import Tokens
from cortex.dictionary.occurrences import held_codes
from cortex.dictionary.pairs import read_pairs
from cortex.explain.pair_sums import starts_of

AT_ONCE = 1_000  # samples measured at once
PURPOSE = "causes of codes"  # of the random numbers


@dataclass(frozen=True)
class Samples:
    """S images, each with a code that it holds, and P + 2 random numbers; ordered by label and token.

    Args:
        rows: of the images, int64 ``[S]``.
        labels, tokens: class of the image, and the code, int64 ``[S]``.
        seeds: of the random numbers, uint64 ``[S]``.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    tokens: NDArray[np.int64]
    seeds: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, start: int) -> "Samples":
        """The next samples, as many as are measured at once."""
        at = slice(start, start + AT_ONCE)
        return Samples(self.rows[at], self.labels[at], self.tokens[at], self.seeds[at])

    def randoms(self, positions: int) -> NDArray[np.float64]:
        """P numbers for an order of positions, and two more: ``[S, P + 2]``, functions of seed, image and code."""
        return uniforms(self.seeds, positions + 2)


def sample_images(images: Tokens, pairs: Path, most: int, codes: int, seed: int) -> Samples:
    """Some images of every chosen pair, at random; the same for all judges and interventions.

    Args:
        images: the test split.
        pairs: table of the chosen pairs.
        most: images of a pair.
        codes: in the codebook.
        seed: seed of the choice, and of the random numbers.
    """
    labels, tokens = read_pairs(pairs, codes)
    held, _ = held_codes(images.tokens.astype(np.int64), codes)
    rows, held_tokens = np.divmod(held, codes)
    held = images.labels[rows] * codes + held_tokens
    wanted = np.isin(held, labels * codes + tokens)
    rows, held = rows[wanted], held[wanted]
    seeds = sample_seeds(0, 0, held % codes, key_seeds(seed, PURPOSE, images.keys)[rows])
    order = np.lexsort((seeds, held))
    starts = starts_of(held[order])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    order = order[place < most]
    return Samples(rows[order], *np.divmod(held[order], codes), seeds[order])

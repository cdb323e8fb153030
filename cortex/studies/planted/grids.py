"""Grids with known ground truth: a few codes mark a class, on a background that is independent of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cortex.studies.planted.settings import Variant

# Roles of a position's code, by their numbers in the truth masks.
ROLES = ("background", "own", "shared", "shortcut", "decoy")
BACKGROUND, OWN, SHARED, SHORTCUT, DECOY = range(len(ROLES))
# The roles of codes that mark the class wherever they stand.
MARKS = (OWN, SHARED)


@dataclass(frozen=True)
class PlantedCodes:
    """Which codes mark which class.

    Args:
        codes: int64 ``[classes, m]``, the codes of each class.
        roles: uint8 ``[m]``, the role of each code: a number of ``ROLES``.
        background: int64 ``[b]``, all other codes, the most frequent first.
    """

    codes: NDArray[np.int64]
    roles: NDArray[np.uint8]
    background: NDArray[np.int64]


def choose_codes(
    variant: Variant, classes: int, codes: int, codes_per_class: int, rng: np.random.Generator
) -> PlantedCodes:
    """Choose the codes of every class; all others of the ``codes`` are background.

    plain: ``codes_per_class`` of its own for each class. shortcut: these, and one more that is the class's in training
    only. shared: half of a class's codes are its neighbour's, too (0 and 1 are neighbours, 2 and 3, ...). combination:
    two codes a class, which mark it together only.
    """
    count = {"shortcut": codes_per_class + 1, "combination": 2}.get(variant, codes_per_class)
    shuffled = rng.permutation(codes)
    chosen = shuffled[: classes * count].reshape(classes, count).copy()
    roles = np.full(count, OWN, np.uint8)
    if variant == "shortcut":
        roles[-1] = SHORTCUT
    elif variant == "shared":
        roles[-(count // 2) :] = SHARED
        chosen[1::2, roles == SHARED] = chosen[::2, roles == SHARED]
    return PlantedCodes(chosen, roles, shuffled[~np.isin(shuffled, chosen)])


def draw_grids(
    variant: Variant,
    planted: PlantedCodes,
    labels: NDArray[np.int64],
    grid: tuple[int, int],
    positions: int,
    rng: np.random.Generator,
    *,
    as_trained: bool = True,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """Draw grids of given classes, with the role of every position.

    Every position is drawn from the background, whose code of rank r stands with probability ∝ 1 / r (Zipf): the codes
    that are frequent in a class are not those that mark it, as in real images. Then the planted codes take random
    positions.

    Args:
        variant: kind of codes that mark a class.
        planted: the codes.
        labels: ``[N]``.
        grid: (h, w).
        positions: how many hold codes that mark the class, each as often; in a combination, of every class's pair.
        rng: of the numbers.
        as_trained: whether the shortcut's code is that of the image's class, as in training, or of a random one.

    Returns:
        Tokens uint16 ``[N, h, w]`` and their roles uint8 ``[N, h, w]``, numbers of ``ROLES``.
    """
    count, size = len(labels), grid[0] * grid[1]
    weights = 1 / np.arange(1, len(planted.background) + 1)
    tokens = rng.choice(planted.background, (count, size), p=weights / weights.sum())
    roles = np.full((count, size), BACKGROUND, np.uint8)
    if variant == "combination":
        held, held_roles = _pairs(planted, labels, positions, rng)
    else:
        held, held_roles = _marks(planted, labels, positions, rng, as_trained)
    places = rng.permuted(np.tile(np.arange(size), (count, 1)), axis=1)[:, : held.shape[1]]
    np.put_along_axis(tokens, places, held, axis=1)
    np.put_along_axis(roles, places, held_roles, axis=1)
    return tokens.astype(np.uint16).reshape(count, *grid), roles.reshape(count, *grid)


def _marks(
    planted: PlantedCodes, labels: NDArray[np.int64], positions: int, rng: np.random.Generator, as_trained: bool
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The class's codes in turn on ``positions``, and a shortcut's on half as many: codes and roles ``[N, q]``."""
    marking = np.flatnonzero(planted.roles != SHORTCUT)
    turn = marking[np.arange(positions) % len(marking)]
    held, roles = planted.codes[labels][:, turn], np.tile(planted.roles[turn], (len(labels), 1))
    if SHORTCUT in planted.roles:
        of = labels if as_trained else rng.integers(0, len(planted.codes), len(labels))
        shortcut = np.repeat(planted.codes[of, -1:], positions // 2, axis=1)
        held = np.concatenate([held, shortcut], axis=1)
        roles = np.concatenate([roles, np.full(shortcut.shape, SHORTCUT, np.uint8)], axis=1)
    return held, roles


def _pairs(
    planted: PlantedCodes, labels: NDArray[np.int64], positions: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """On ``positions`` for every class, its pair: codes and roles ``[N, classes · positions]``.

    The image's class has both codes there, in turn; of any other pair one stands there alone, twice as often. So a
    code by itself, and how often it stands there on average, says nothing of the class.
    """
    images, classes = np.arange(len(labels)), len(planted.codes)
    alone = rng.integers(0, 2, (len(labels), classes, 1))
    which = np.repeat(alone, positions, axis=2)
    # Of an odd number, one code stands there once more: either.
    start = rng.integers(0, 2, (len(labels), 1)) if positions % 2 else 0
    which[images, labels] = (np.arange(positions) + start) % 2
    held = planted.codes[np.arange(classes)[:, None], which]
    roles = np.full(held.shape, DECOY, np.uint8)
    roles[images, labels] = OWN
    return held.reshape(len(labels), -1), roles.reshape(len(labels), -1)

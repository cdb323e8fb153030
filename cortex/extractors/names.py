"""Names of trained extractors: ``cnn/0`` is the first training of the extractor ``cnn`` of the config."""

import re

import numpy as np

from cortex.core.errors import InputError, check_options, shown
from cortex.core.randomness import key_seeds

NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)(?:/(0|[1-9][0-9]*))?", re.ASCII)


def split_name(word: str) -> tuple[str, int]:
    """The extractor's name and the number of the training: ``("cnn", 0)`` of ``cnn/0``, and of ``cnn``.

    Raises:
        InputError: the word is neither a name nor a name and a number.
    """
    found = NAME.fullmatch(word)
    if found is None:
        raise InputError(f"extractor {shown(word)}: allowed: a name, or a name and a training's number, as in cnn/0")
    return found[1], int(found[2] or 0)


def join_name(name: str, training: int) -> str:
    """The word for an extractor's training: ``cnn/0``."""
    return f"{name}/{training}"


def training_seed(seed: int, training: int) -> int:
    """The seed of an extractor's training, 0 to 2⁶³ − 1: the run's own for training 0, a derived one for the others.

    Raises:
        InputError: the number of the training is negative.
    """
    check_options(training=training)
    return seed if training == 0 else int(key_seeds(seed, "training", [str(training)])[0] >> np.uint64(1))

"""Names of trained extractors: ``cnn/0`` is the first training of the extractor ``cnn`` of the config.

``cnn/average`` stands for the scores of ``cnn`` averaged over its trainings.
"""

import re
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from cortex.core.errors import InputError, check_options, shown
from cortex.core.randomness import key_seeds

Value = TypeVar("Value")

AVERAGE = -1  # in place of a training's number
NAME = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]*)(?:/(0|[1-9][0-9]*|average))?", re.ASCII)


def split_name(word: str) -> tuple[str, int]:
    """The extractor's name and the number of the training: ``("cnn", 0)`` of ``cnn/0``, and of ``cnn``.

    The number of an average is :data:`AVERAGE`.

    Raises:
        InputError: the word is neither a name nor a name and a number.
    """
    found = NAME.fullmatch(word)
    if found is None:
        raise InputError(f"extractor {shown(word)}: allowed: a name, or a name and a training's number, as in cnn/0")
    return found[1], AVERAGE if found[2] == "average" else int(found[2] or 0)


def join_name(name: str, training: int) -> str:
    """The word for an extractor's training: ``cnn/0``, or ``cnn/average``."""
    return f"{name}/{'average' if training == AVERAGE else training}"


def by_extractor(found: Mapping[tuple[Any, ...], Value]) -> dict[tuple[Any, ...], dict[int, Value]]:
    """Values of trained extractors by extractor, and by training.

    Args:
        found: values by the trained extractor, such as ``cnn/0``, and whatever else tells them apart.
    """
    grouped: dict[tuple[Any, ...], dict[int, Value]] = {}
    for (word, *rest), value in found.items():
        name, training = split_name(word)
        grouped.setdefault((name, *rest), {})[training] = value
    return grouped


def trainings_alone(of_extractor: Mapping[int, Value]) -> list[Value]:
    """Values of an extractor's trainings, without that of their average."""
    return [value for training, value in of_extractor.items() if training != AVERAGE]


def training_seed(seed: int, training: int) -> int:
    """The seed of an extractor's training, 0 to 2⁶³ − 1: the run's own for training 0, a derived one for the others.

    Raises:
        InputError: the number of the training is negative.
    """
    check_options(training=training)
    return seed if training == 0 else int(key_seeds(seed, "training", [str(training)])[0] >> np.uint64(1))

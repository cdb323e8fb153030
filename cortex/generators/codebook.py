"""The codebook in a generator's weights file, without the rest of it."""

from pathlib import Path

from torch import Tensor

from cortex.core.errors import InputError
from cortex.core.weights import read_weights
from cortex.generators.spec import bundled_weights

CODEBOOK_WEIGHT = "first_stage_model.quantize.embedding.weight"


def read_codebook(generator: Path | None = None) -> Tensor:
    """The codebook ``[K, d]`` of the generator; None: of the embedded digits generator.

    Raises:
        InputError: the file is missing, truncated, or not a generator's.
    """
    path = generator or bundled_weights()
    tensors, _ = read_weights(path, only=CODEBOOK_WEIGHT)
    if CODEBOOK_WEIGHT not in tensors:
        raise InputError(f"{path}: not a generator's weights: {CODEBOOK_WEIGHT} is missing")
    return tensors[CODEBOOK_WEIGHT]

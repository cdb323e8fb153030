"""The codebook in a generator's weights file, without the rest of it."""

from pathlib import Path

from torch import Tensor

from cortex.core.errors import InputError
from cortex.core.weights import read_weights

CODEBOOK_WEIGHT = "first_stage_model.quantize.embedding.weight"


def read_codebook(weights: Path) -> Tensor:
    """The codebook float32 ``[K, d]`` of a weights file.

    Raises:
        InputError: the file is missing, truncated, or not a generator's.
    """
    tensors, _ = read_weights(weights, only=CODEBOOK_WEIGHT)
    if CODEBOOK_WEIGHT not in tensors:
        raise InputError(f"{weights}: not a generator's weights: {CODEBOOK_WEIGHT} is missing")
    return tensors[CODEBOOK_WEIGHT].float()

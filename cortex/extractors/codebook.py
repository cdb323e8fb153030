"""The codebook: what a token is to an extractor."""

from pathlib import Path

import torch
from torch import Tensor

from cortex.core.errors import InputError
from cortex.core.weights import read_weights, write_weights
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.codebook_only import COMPOSITION, codebook_metadata, composition_of
from cortex.generators.load import generator_spec, read_codebook, read_composition
from cortex.generators.scales import Composition


def look_up(codebook: Tensor, grids: Tensor) -> Tensor:
    """Embeddings ``[B, d, h, w]``, channels last in memory, of token grids ``[B, h, w]``, from ``[K, d]``."""
    return codebook[grids].permute(0, 3, 1, 2)


def export_codebook(output: Path, *, family: str = DEFAULT_FAMILY, generator: Path | None = None) -> None:
    """Write a generator's codebook to a file of its own. Extractors need no other part of the generator.

    Args:
        output: safetensors file to write: `codebook` float [K, d]. Its metadata holds grid and class names, so the file
            is a weights file of the family `codebook`. Of tokens of several scales, the file also holds the weights of
            their composition.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
    """
    metadata = codebook_metadata(generator_spec(generator, family))
    composition = read_composition(generator, family)
    filters = {} if composition is None else composition.state_dict(prefix=COMPOSITION)
    write_weights(output, {"codebook": read_codebook(generator, family), **filters}, metadata)


def load_codebook(path: Path, device: torch.device) -> Tensor:
    """The codebook float32 ``[K, d]`` that :func:`export_codebook` wrote.

    Raises:
        InputError: the file is missing, truncated, or not a codebook.
    """
    tensors, _ = read_weights(path, only="codebook")
    if "codebook" not in tensors or tensors["codebook"].ndim != 2:
        raise InputError(f"{path}: not a codebook: expected one tensor 'codebook' of shape [K, d]")
    return tensors["codebook"].float().to(device)


def load_composition(path: Path) -> Composition | None:
    """The composition of tokens of several scales that :func:`export_codebook` wrote; None: they have one scale.

    Raises:
        InputError: the file is missing, truncated, or not a codebook.
    """
    return composition_of(*read_weights(path))

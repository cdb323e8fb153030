"""Codebooks ``[K, d]`` in the files that people have: ``.npy``, and checkpoints of ``torch.save``, never unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy

from cortex.core.errors import InputError, listed
from cortex.core.file_kinds import not_whole

if TYPE_CHECKING:
    from torch import Tensor

    from cortex.core.checkpoint import Checkpoint
    from cortex.core.pickled import StoredTensor

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin")
KINDS = (".npy", *CHECKPOINTS)
NAME = "codebook"


def codebook_shape(path: Path) -> tuple[int, ...]:
    """The shape of the codebook in a file of one of :data:`KINDS`.

    Raises:
        InputError: the file is missing or damaged, or holds none or several.
    """
    if path.suffix == ".npy":
        return _mapped(path).shape
    from cortex.core.checkpoint import open_checkpoint

    with open_checkpoint(path) as opened:
        return _only(opened)[1].shape


def read_codebook_file(path: Path) -> Tensor:
    """The codebook float32 ``[K, d]``.

    Raises:
        InputError: as :func:`codebook_shape`, or a number is not finite.
    """
    import torch

    from cortex.core.checkpoint import in_memory, open_checkpoint
    from cortex.core.weights import check_finite

    if path.suffix == ".npy":
        name, codebook = NAME, torch.from_numpy(np.array(_mapped(path), np.float32))
    else:
        with open_checkpoint(path) as opened:
            name, stored = _only(opened)
            codebook = in_memory(stored, opened).float()
    check_finite(codebook, path, name)
    return codebook


def _mapped(path: Path) -> np.ndarray:
    try:
        array = npy.open_memmap(path, mode="r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    except Exception as error:  # NumPy parses a header as Python, so a damaged one raises any exception
        raise not_whole(path, "npy file", error) from None
    if array.dtype.kind != "f":
        raise InputError(f"{path}: {array.dtype}; a codebook is of floating-point numbers [K, d]")
    return array


def _only(opened: Checkpoint) -> tuple[str, StoredTensor]:
    """Name and place of the tensor called ``codebook``, or else of the only tensor of two dimensions."""
    if NAME in opened.tensors:
        return NAME, opened.tensors[NAME]
    found = [(name, tensor) for name, tensor in opened.tensors.items() if len(tensor.shape) == 2]
    if len(found) != 1:
        names = listed([name for name, _ in found]) or "none"
        raise InputError(f"{opened.path}: a tensor {NAME!r} [K, d], or one tensor alone, is needed; it has {names}")
    return found[0]

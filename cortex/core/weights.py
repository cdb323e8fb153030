"""Weights on disk: safetensors files, which hold tensors and text and cannot execute anything."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cortex.core.errors import InputError, cut, listed, shown
from cortex.core.file_kinds import SAFETENSORS, not_whole
from cortex.core.files import whole_file

MOST_DIMENSIONS = 64  # that torch computes with


def write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], *, half: bool = False) -> None:
    """Write named tensors and string metadata to a safetensors file, whole or not at all.

    Args:
        path: the file.
        tensors: by name.
        metadata: by name.
        half: whether to store floating-point numbers as float16.

    Raises:
        InputError: a number is too large for float16.
        OSError: it cannot be written.
    """
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
        large = sorted(name for name, tensor in tensors.items() if not tensor.isfinite().all())
        if large:
            raise InputError(f"{path}: weights that float16 cannot hold, above 65504 or not finite: {listed(large)}")
    with whole_file(path) as temporary:
        try:
            save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, temporary, metadata)
        except SafetensorError as error:  # a full disk, for one
            raise OSError(f"{path}: {error}") from None


def read_weights(
    path: Path, only: str = "", device: torch.device | str = "cpu"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the device, and the metadata of a safetensors file.

    Args:
        path: the file.
        only: how the names of those tensors begin that are wanted; the others are not read.
        device: where the tensors go. On a CPU they are the file itself, mapped into memory;
            their numbers are checked once.

    Raises:
        InputError: the file is missing, truncated or not safetensors, or a number in a tensor is not finite.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            names = [name for name in file.keys() if name.startswith(only)]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError) as error:
        raise not_whole(path, SAFETENSORS, error) from None
    for name, tensor in tensors.items():
        check_finite(tensor, path, name)
    return tensors, metadata


def check_finite(tensor: Tensor, path: Path, name: str) -> None:
    """Raise an InputError unless all numbers of a tensor, which a file has under a name, are finite."""
    if not tensor.is_floating_point():
        return
    if tensor.dim() > MOST_DIMENSIONS:
        raise InputError(f"{path}: weight {shown(name)[1:-1]}: {tensor.dim()} dimensions; at most {MOST_DIMENSIONS}")
    # A sum takes no memory. It is finite only if all numbers are; that of huge numbers may not be, too.
    total = tensor.sum(dtype=torch.promote_types(tensor.dtype, torch.float32))
    if not total.isfinite() and not tensor.isfinite().all():
        raise InputError(f"{path}: weight {shown(name)[1:-1]}: not all of its numbers are finite")


def check_names(path: Path | str, missing: Sequence[str], unexpected: Sequence[str]) -> None:
    """Raise an InputError that lists weights that are missing from a file, or unexpected there, if there are any."""
    problems = {"missing weights": missing, "unexpected weights": unexpected}
    if told := [f"{len(names)} {what}: {listed(sorted(names))}" for what, names in problems.items() if names]:
        raise InputError(f"{path}: {'; '.join(told)}")


def load_into(network: nn.Module, tensors: dict[str, Tensor], path: Path, *, assign: bool = False) -> None:
    """Load ``tensors`` into ``network``; ``path`` is named if a weight is missing, unexpected or misshapen.

    They are copied, or with ``assign`` become the network's own, in place of those that it has.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    check_names(path, [*expected.keys() - found.keys()], [*found.keys() - expected.keys()])
    for name, shape in expected.items():
        if found[name] != shape:
            raise InputError(
                f"{path}: weight {shown(name)[1:-1]} has shape {cut(str(found[name]), 80)}, expected {shape}"
            )
    network.load_state_dict(tensors, assign=assign)

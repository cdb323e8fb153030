"""From published files, as their authors ship them, to the weights file of a generator."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cortex.core.checkpoint import Checkpoint, open_checkpoint
from cortex.core.errors import InputError, listed, reason_of
from cortex.core.files import whole_file
from cortex.core.pickled import StoredTensor
from cortex.core.progress import progress
from cortex.core.weights import check_finite
from cortex.generators.network.build import empty_networks
from cortex.generators.network.source import Part, Source

if TYPE_CHECKING:
    from cortex.generators.network.family import NetworkFamily

SAFETENSORS_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


@dataclass(frozen=True)
class Found:
    """A tensor of an open checkpoint, or a part of it; its name there, and what is to become of it."""

    checkpoint: Checkpoint
    name: str
    stored: StoredTensor
    change: Callable[[Tensor], Tensor] | None

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, some megabytes at a time; all at once where they change."""
        dtype = self.stored.storage.dtype
        for chunk in self.checkpoint.chunks(self.stored) if self.change is None else [self._changed(self.change)]:
            check_finite(torch.frombuffer(bytearray(chunk), dtype=dtype), self.checkpoint.path, self.name)
            yield chunk

    def _changed(self, change: Callable[[Tensor], Tensor]) -> bytes:
        dtype = self.stored.storage.dtype
        content = bytearray().join(self.checkpoint.chunks(self.stored))
        tensor = change(torch.frombuffer(content, dtype=dtype).view(self.stored.shape))
        return tensor.to(dtype).contiguous().view(torch.uint8).numpy().tobytes()


def convert_source(output: Path, family: NetworkFamily, source: Source) -> None:
    """Convert published files to the weights file that the other commands read.

    Nothing in a checkpoint is executed. Memory holds some megabytes of it at a time. Every tensor is a weight of the
    networks, or one that the family drops by name; others are refused by name.

    Args:
        output: weights to write (safetensors).
        family: of the files.
        source: the files.

    Raises:
        InputError: weights are missing, unexpected, of another shape or type, or not finite.
    """
    described = source.parts[0].path if source.described is None else source.described
    expected = _expected_shapes(family, source.architecture, described)
    with ExitStack() as stack:
        found: dict[str, Found] = {}
        unread: list[str] = []
        for part in source.parts:
            checkpoint = stack.enter_context(open_checkpoint(part.path))
            found |= _tensors(part, checkpoint)
            unread += [name for name in checkpoint.unread if not part.drops(name)]
        files = " and ".join(str(part.path) for part in source.parts)
        where = files if source.described is None else f"{files} does not fit {source.described}"
        missing = [_name_in_file(name, source.parts) for name in expected if name not in found]
        _check(found, expected, {"missing weights": missing, "weights of an unknown kind": unread}, where)
        _write(output, source.architecture, found)


def _tensors(part: Part, checkpoint: Checkpoint) -> dict[str, Found]:
    """The tensors of a part by our name, those that are dropped left out."""
    kept = [
        (ours, name, stored)
        for name, tensor in checkpoint.tensors.items()
        if not part.drops(name)
        for ours, stored in _divided(part.divided(part.rename(name)), name, tensor, part.path)
    ]
    if twice := [ours for ours, count in Counter(ours for ours, *_ in kept).items() if count > 1]:
        raise InputError(f"{part.path}: several tensors would be {listed(twice)}")
    return {ours: Found(checkpoint, name, stored, part.changed.get(ours)) for ours, name, stored in kept}


def _divided(ours: tuple[str, ...], name: str, tensor: StoredTensor, path: Path) -> list[tuple[str, StoredTensor]]:
    """Equal parts of a tensor's rows by our names; the tensor itself where there is one name."""
    if len(ours) == 1:
        return [(ours[0], tensor)]
    if not tensor.shape or tensor.shape[0] % len(ours):
        raise InputError(f"{path}: {listed([name])}: {tensor.shape} has no {len(ours)} equal parts of rows")
    rows = tensor.shape[0] // len(ours)
    return [
        (each, replace(tensor, offset=tensor.offset + part * rows * tensor.stride[0], shape=(rows, *tensor.shape[1:])))
        for part, each in enumerate(ours)
    ]


def _expected_shapes(
    family: NetworkFamily, architecture: dict[str, Any], described: Path
) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of the architecture, by name; no memory is spent on weights."""
    try:
        networks = empty_networks(family, architecture)
    except Exception as error:  # taming's constructors check nothing; anything can go wrong in them
        raise InputError(f"{described}: no generator can be built from it: {reason_of(repr(error))}") from None
    return {name: tuple(weight.shape) for name, weight in networks.state_dict().items()}


def _name_in_file(ours: str, parts: Sequence[Part]) -> str:
    """A file's name of a weight, where a part's renaming only puts something in front of it; else our name."""
    words = ours.split(".")
    shorter = [".".join(words[start:]) for start in range(len(words))]
    return next((name for part in parts for name in shorter if part.rename(name) == ours), ours)


def _check(
    found: Mapping[str, Found], expected: Mapping[str, tuple[int, ...]], problems: dict[str, list[str]], where: str
) -> None:
    """Names, shapes and types are as expected, or all that is wrong is told in one line that begins ``where``."""
    known = [(each.name, each.stored, expected[ours]) for ours, each in found.items() if ours in expected]
    problems |= {
        "unexpected weights": [each.name for ours, each in found.items() if ours not in expected],
        "weights of another shape": [
            f"{name} {stored.shape} for {shape}" for name, stored, shape in known if stored.shape != shape
        ],
        "weights that are not floating-point numbers": [
            name for name, stored, _ in known if stored.storage.dtype not in SAFETENSORS_DTYPES
        ],
    }
    told = [f"{len(set(names))} {what}: {listed(sorted(set(names)))}" for what, names in problems.items() if names]
    if told:
        raise InputError(f"{where}: {'; '.join(told)}")


def _write(output: Path, architecture: dict[str, Any], tensors: dict[str, Found]) -> None:
    """Write a safetensors file (8 bytes: length of the JSON header; the header; the tensors) piece by piece.

    safetensors' own writer takes all tensors at once, which would be 5.6 GB of memory for the ImageNet generator.
    """
    # Wide types first, so that every tensor is aligned to its own type.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].stored.storage.dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": {"architecture": json.dumps(architecture)}}
    end = 0
    for name, found in ordered:
        stored = found.stored
        start, end = end, end + stored.elements * stored.storage.dtype.itemsize
        dtype = SAFETENSORS_DTYPES[stored.storage.dtype]
        header[name] = {"dtype": dtype, "shape": stored.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(output) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, found in progress(ordered, len(ordered), "converting", "weight"):
            for chunk in found.chunks():
                file.write(chunk)

"""From a folder of taming-transformers, as its authors ship it, to the weights file of a generator.

The folder's YAML says what the networks look like (:mod:`cortex.generators.taming.project`); the checkpoint of PyTorch
Lightning holds the weights.
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cortex.core.checkpoint import Checkpoint, open_checkpoint
from cortex.core.errors import InputError, shown
from cortex.core.files import whole_file
from cortex.core.pickled import StoredTensor
from cortex.core.progress import progress
from cortex.generators.taming.networks import CONSTANT, empty_networks
from cortex.generators.taming.project import files_of, read_architecture

LOSSES = ("first_stage_model.loss.", "loss.")  # the VQGAN's discriminator and perceptual loss: for training only
SAFETENSORS_DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


def convert_generator(output: Path, folder: Path, *, class_names: Path | None = None) -> None:
    """Convert a folder of taming-transformers to the weights file that the other commands read.

    The folder holds a YAML (configs/*-project.yaml or configs/model.yaml) and a checkpoint of PyTorch Lightning
    (checkpoints/last.ckpt or ckpts/last.ckpt), of a class-conditional transformer or of a VQGAN alone, which decodes
    but cannot sample. Nothing in the checkpoint is executed. Memory holds some megabytes of it at a time.

    Args:
        output: weights to write (safetensors).
        folder: the folder, as its authors ship it.
        class_names: UTF-8 text, a name a line in the order of the class indices; "class 0", "class 1", ... if not
            given. Of a VQGAN alone, the classes of the grids that it is to decode; none if not given.
    """
    config, checkpoint_path = files_of(folder)
    architecture = read_architecture(config, class_names)
    expected = _expected_shapes(architecture, config)
    bare = architecture["transformer"] is None
    with open_checkpoint(checkpoint_path) as checkpoint:
        tensors = {
            f"first_stage_model.{name}" if bare else name: tensor
            for name, tensor in checkpoint.tensors.items()
            if not name.startswith(LOSSES) and not name.endswith(CONSTANT)
        }
        _check(tensors, expected, f"{checkpoint_path} does not fit {config}")
        _write(output, architecture, tensors, checkpoint)


def _expected_shapes(architecture: dict[str, Any], config: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every weight of the architecture, by name; no memory is spent on weights."""
    try:
        networks = empty_networks(architecture)
    except Exception as error:  # taming's constructors check nothing; anything can go wrong in them
        raise InputError(f"{config}: no generator can be built from it: {error!r}") from None
    state = networks.state_dict()
    return {name: tuple(weight.shape) for name, weight in state.items() if not name.endswith(CONSTANT)}


def _check(tensors: dict[str, StoredTensor], expected: dict[str, tuple[int, ...]], where: str) -> None:
    """Names, shapes and types are as expected, or all that is wrong is told in one line that begins ``where``."""
    shared = sorted(expected.keys() & tensors.keys())
    shapes = [
        f"{name} {tensors[name].shape} for {expected[name]}" for name in shared if tensors[name].shape != expected[name]
    ]
    types = [name for name in shared if tensors[name].storage.dtype not in SAFETENSORS_DTYPES]
    problems = {
        "missing weights": sorted(expected.keys() - tensors.keys()),
        "unexpected weights": sorted(tensors.keys() - expected.keys()),
        "weights of another shape": shapes,
        "weights that are not floating-point numbers": types,
    }
    told = [f"{len(names)} {what}: {_listed(names)}" for what, names in problems.items() if names]
    if told:
        raise InputError(f"{where}: {'; '.join(told)}")


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name)[1:-1] for name in names[:most]) + more


def _write(output: Path, architecture: dict[str, Any], tensors: dict[str, StoredTensor], source: Checkpoint) -> None:
    """Write a safetensors file (8 bytes: length of the JSON header; the header; the tensors) piece by piece.

    safetensors' own writer takes all tensors at once, which would be 5.6 GB of memory for the ImageNet generator.
    """
    # Wide types first, so that every tensor is aligned to its own type.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].storage.dtype.itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": {"architecture": json.dumps(architecture)}}
    end = 0
    for name, tensor in ordered:
        start, end = end, end + tensor.elements * tensor.storage.dtype.itemsize
        dtype = SAFETENSORS_DTYPES[tensor.storage.dtype]
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": (start, end)}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with whole_file(output) as temporary, open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for piece in _pieces(source, ordered):
            file.write(piece)


def _pieces(source: Checkpoint, tensors: list[tuple[str, StoredTensor]]) -> Iterator[bytes]:
    for name, tensor in progress(tensors, len(tensors), "converting", "weight"):
        for chunk in source.chunks(tensor):
            if not torch.frombuffer(bytearray(chunk), dtype=tensor.storage.dtype).isfinite().all():
                raise InputError(f"{source.path}: weight {name}: not all of its numbers are finite")
            yield chunk

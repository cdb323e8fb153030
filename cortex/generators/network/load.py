"""A generator's weights file: written, and loaded without a copy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cortex.core.errors import InputError, reason_of
from cortex.core.weights import load_into, read_weights, write_weights
from cortex.generators import settings
from cortex.generators.network.build import empty_networks
from cortex.generators.network.described import Described
from cortex.generators.network.generator import NetworkGenerator
from cortex.generators.settings import Precision

CONSTANT = "attn.mask"  # the causal mask, a buffer of taming's GPT where it is trained


def save_generator(
    path: Path, tokenizer: nn.Module, prior: nn.Module, architecture: dict[str, Any], *, half: bool = False
) -> None:
    """Write both networks' weights as one safetensors file with the architecture in its metadata.

    With ``half`` they are stored as float16; :func:`load` gives float32.

    Raises:
        InputError: with ``half``, a weight is too large for float16.
    """
    networks = nn.ModuleDict({"first_stage_model": tokenizer, "transformer": prior})
    tensors = {name: tensor for name, tensor in networks.state_dict().items() if not name.endswith(CONSTANT)}
    write_weights(path, tensors, {"architecture": json.dumps(architecture)}, half=half)


def load(
    family: Described,
    path: Path,
    device: torch.device,
    *,
    decode_only: bool,
    precision: Precision,
    step: settings.Step,
) -> NetworkGenerator:
    """The generator of a weights file.

    Weights go from the file to the device, and exist once: on a CPU, those in float32 are the file, mapped into memory,
    which all processes share. Others become float32.

    Args:
        family: that the file is of.
        path: the weights.
        device: where to compute.
        decode_only: leave the prior in the file.
        precision, step: of sampling; see :class:`NetworkGenerator`.

    Raises:
        InputError: the file is missing, truncated, or not a generator's; missing or unexpected weights are listed.
    """
    tensors, metadata = read_weights(path, only="first_stage_model." if decode_only else "", device=device)
    architecture = family.checked_architecture(metadata, path)
    try:
        networks = empty_networks(family, architecture | ({"prior": None} if decode_only else {}))
    except Exception as error:  # taming's constructors check nothing; anything can go wrong in them
        raise InputError(f"{path}: no generator of its architecture can be built: {reason_of(repr(error))}") from None
    load_into(networks, {name: tensor.float() for name, tensor in tensors.items()}, path, assign=True)
    return NetworkGenerator(
        family.spec_of(architecture),
        networks.to(device),  # constants, which are in no file
        device,
        null_class=architecture["null_class"],
        precision=precision,
        step=step,
    )

"""A VQGAN-type generator: what a class looks like, as a token grid and as an image."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn

from cortex.errors import InputError
from cortex.generate.facts import architecture_of, embedded_weights
from cortex.generate.networks import CONSTANT
from cortex.generate.sampler import sample_tokens
from cortex.generate.vqgan import VQGAN
from cortex.randomness import uniforms
from cortex.weights import load_into, read_weights, write_weights


class Generator:
    """A class-conditional GPT over the token grids of a VQGAN (Esser et al., 2021), in eval mode.

    Args:
        architecture: ``{"vqgan": ..., "transformer": ..., "classes": [names]}``, the keyword arguments of
            :class:`~cortex.generate.vqgan.VQGAN` and of taming-transformers' ``GPT``. With None for the latter, and
            no classes, it is a VQGAN alone: it decodes, but cannot sample.
        device: where to compute.
    """

    def __init__(self, architecture: dict[str, Any], device: str | torch.device = "cpu"):
        self.architecture = architecture
        self.device = torch.device(device)
        self.vqgan = VQGAN(**architecture["vqgan"]).to(self.device).eval().requires_grad_(False)
        self.transformer: GPT | None = None
        if architecture["transformer"] is not None:
            self.transformer = GPT(**architecture["transformer"]).to(self.device).eval().requires_grad_(False)
        self.class_names: list[str] = architecture["classes"]
        self.grid_shape: tuple[int, int] = self.vqgan.grid_shape

    @property
    def codebook(self) -> Tensor:
        """``[K, d]`` float: the embedding of every code."""
        return self.vqgan.codebook

    def sample(
        self,
        classes: NDArray[np.integer],
        seeds: NDArray[np.uint64],
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
    ) -> Tensor:
        """Token grids int64 ``[B, h, w]`` of the classes ``[B]``; a grid is a function of its class and seed.

        The arithmetic differs in its last bits between batch shapes and devices: who wants the same grids again
        asks for the same batches (see :func:`cortex.generate.shard.canonical_batches`).

        Raises:
            InputError: the generator is a VQGAN alone.
        """
        if self.transformer is None:
            raise InputError("this generator is a VQGAN without a transformer: it decodes grids, but cannot sample any")
        height, width = self.grid_shape
        tokens = sample_tokens(
            self.transformer,
            torch.as_tensor(classes, dtype=torch.int64, device=self.device),
            torch.as_tensor(uniforms(seeds, height * width), device=self.device),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return tokens.view(-1, height, width)

    @torch.inference_mode()
    def decode(self, grids: Tensor) -> Tensor:
        """Images uint8 ``[B, H, W, 3]`` of token grids int ``[B, h, w]``."""
        images = self.vqgan.decode(grids.to(self.device, torch.int64))
        return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def save_generator(path: Path, vqgan: VQGAN, transformer: GPT, architecture: dict[str, Any]) -> None:
    """Write both networks' weights as one safetensors file with the architecture in its metadata."""
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in vqgan.state_dict().items()}
    tensors |= {
        f"transformer.{name}": tensor
        for name, tensor in transformer.state_dict().items()
        if not name.endswith(CONSTANT)
    }
    write_weights(path, tensors, {"architecture": json.dumps(architecture)})


def load_generator(path: Path | None = None, device: str | torch.device = "cpu") -> Generator:
    """The generator stored at ``path`` by :func:`save_generator`; None: the embedded digits generator.

    Raises:
        InputError: the file is missing, truncated, or not a generator's; missing or unexpected weights are listed.
    """
    path = path or embedded_weights()
    tensors, metadata = read_weights(path)
    architecture = architecture_of(metadata, path)
    try:
        generator = Generator(architecture, device)
    except Exception as error:  # taming's constructors check nothing; anything can go wrong in them
        raise InputError(f"{path}: no generator of its architecture can be built: {error!r}") from None
    networks = nn.ModuleDict({"first_stage_model": generator.vqgan})
    if generator.transformer is not None:
        networks["transformer"] = generator.transformer
    constants = {name: tensor for name, tensor in networks.state_dict().items() if name.endswith(CONSTANT)}
    load_into(networks, tensors | constants, path)
    return generator

"""A VQGAN-type generator: what a class looks like, as a token grid and as an image."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn

from cortex.core.errors import InputError
from cortex.core.randomness import uniforms
from cortex.core.weights import load_into, read_weights, write_weights
from cortex.generators.spec import architecture_of, bundled_weights
from cortex.generators.taming.networks import CONSTANT, empty_networks
from cortex.generators.taming.sampler import Sampler, Step
from cortex.generators.taming.vqgan import VQGAN

Precision = Literal["auto", "float32", "bfloat16"]


class Generator:
    """A class-conditional GPT over the token grids of a VQGAN (Esser et al., 2021), in eval mode.

    Args:
        architecture: ``{"vqgan": ..., "transformer": ..., "classes": [names]}``, the keyword arguments of
            ``VQGAN`` and of taming-transformers' ``GPT``. With None for the latter, and
            no classes, it is a VQGAN alone: it decodes, but cannot sample.
        networks: ``first_stage_model`` (a VQGAN) and, if it is to sample, ``transformer``, on the device.
        device: where that is.
        precision: of the transformer's large products: float32, bfloat16, or auto: bfloat16 on a GPU.
        step: how the transformer draws a token (see ``sampler.Step``); auto: captured on a GPU.
    """

    def __init__(
        self,
        architecture: dict[str, Any],
        networks: nn.ModuleDict,
        device: torch.device,
        *,
        precision: Precision = "auto",
        step: Step | Literal["auto"] = "auto",
    ):
        self.architecture, self.device = architecture, device
        networks.eval().requires_grad_(False)
        named: dict[str, Any] = dict(networks.items())
        self.vqgan: VQGAN = named["first_stage_model"]
        self.transformer: GPT | None = named.get("transformer")
        self.class_names: list[str] = architecture["classes"]
        self.grid_shape: tuple[int, int] = self.vqgan.grid_shape
        self._sampler: Sampler | None = None
        if self.transformer is not None:
            self._sampler = Sampler(self.transformer, *resolve(precision, step, device))

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
        asks for the same batches (see :func:`cortex.data.draw.canonical_batches`).

        Raises:
            InputError: the generator is a VQGAN alone.
        """
        if self._sampler is None:
            raise InputError("this generator is a VQGAN without a transformer: it decodes grids, but cannot sample any")
        height, width = self.grid_shape
        tokens = self._sampler.draw(
            torch.as_tensor(classes, dtype=torch.int64, device=self.device),
            torch.as_tensor(uniforms(seeds, height * width), device=self.device),
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
        )
        return tokens.view(-1, height, width)

    @property
    def image_shape(self) -> tuple[int, int]:
        """(H, W) of its images."""
        side: int = self.architecture["vqgan"]["ddconfig"]["resolution"]
        return side, side

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Token grids int64 ``[B, h, w]`` of images uint8 ``[B, H, W, 3]``: the nearest code of every position."""
        return self.vqgan.encode(images.to(self.device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1))

    @torch.inference_mode()
    def decode(self, grids: Tensor) -> Tensor:
        """Images uint8 ``[B, H, W, 3]`` of token grids int ``[B, h, w]``."""
        images = self.vqgan.decode(grids.to(self.device, torch.int64))
        return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def resolve(precision: Precision, step: Step | Literal["auto"], device: torch.device) -> tuple[torch.dtype, Step]:
    """What ``auto`` stands for: float32 and plain steps on a CPU, bfloat16 and captured steps on a GPU.

    Not compiled ones: with hundreds of images a batch a step is bound by reading the cache, and to compile its eight
    shapes would take every job a good part of the time that it draws for.
    """
    on_gpu = device.type == "cuda"
    half = precision == "bfloat16" or (precision == "auto" and on_gpu)
    how: Step = ("captured" if on_gpu else "plain") if step == "auto" else step
    return torch.bfloat16 if half else torch.float32, how


def save_generator(path: Path, vqgan: VQGAN, transformer: GPT, architecture: dict[str, Any]) -> None:
    """Write both networks' weights as one safetensors file with the architecture in its metadata."""
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in vqgan.state_dict().items()}
    tensors |= {
        f"transformer.{name}": tensor
        for name, tensor in transformer.state_dict().items()
        if not name.endswith(CONSTANT)
    }
    write_weights(path, tensors, {"architecture": json.dumps(architecture)})


def load_generator(
    path: Path | None = None,
    device: str | torch.device = "cpu",
    *,
    decode_only: bool = False,
    precision: Precision = "auto",
    step: Step | Literal["auto"] = "auto",
) -> Generator:
    """The generator stored at ``path`` by :func:`save_generator`; None: the embedded digits generator.

    Weights go from the file to the device, and exist once: on a CPU they are the file, mapped into memory, which all
    processes share.

    Args:
        path: the weights.
        device: where to compute.
        decode_only: leave the transformer in the file.
        precision, step: of sampling; see :class:`Generator`.

    Raises:
        InputError: the file is missing, truncated, or not a generator's; missing or unexpected weights are listed.
    """
    path, device = path or bundled_weights(), torch.device(device)
    tensors, metadata = read_weights(path, only="first_stage_model." if decode_only else "", device=device)
    architecture = architecture_of(metadata, path)
    try:
        networks = empty_networks(architecture | ({"transformer": None} if decode_only else {}))
    except Exception as error:  # taming's constructors check nothing; anything can go wrong in them
        raise InputError(f"{path}: no generator of its architecture can be built: {error!r}") from None
    tensors = {name: tensor.float() for name, tensor in tensors.items()} | _causal_masks(networks, device)
    load_into(networks, tensors, path, assign=True)
    return Generator(architecture, networks, device, precision=precision, step=step)


def _causal_masks(networks: nn.ModuleDict, device: torch.device) -> dict[str, Tensor]:
    """What taming's constructor puts into the attention's buffers, by name: one mask, for all layers."""
    masks = {name: tensor for name, tensor in networks.state_dict().items() if name.endswith(CONSTANT)}
    causal = {shape: torch.ones(shape, device=device).tril() for shape in {mask.shape for mask in masks.values()}}
    return {name: causal[mask.shape] for name, mask in masks.items()}

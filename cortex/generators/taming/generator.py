"""A VQGAN-type generator: what a class looks like, as a token grid and as an image."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn

from cortex.core.errors import InputError
from cortex.core.randomness import uniforms
from cortex.core.weights import load_into, read_weights, write_weights
from cortex.generators import settings
from cortex.generators.pixels import from_bytes, to_bytes
from cortex.generators.settings import Precision, Sampling
from cortex.generators.taming.architecture import architecture_of, spec_of
from cortex.generators.taming.networks import CONSTANT, empty_networks
from cortex.generators.taming.prior import GptPrior
from cortex.generators.taming.sampler import Sampler, Step
from cortex.generators.taming.vqgan import VQGAN


class TamingGenerator:
    """A class-conditional GPT over the token grids of a VQGAN (Esser et al., 2021), in eval mode.

    Args:
        architecture: see :mod:`cortex.generators.taming.architecture`.
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
        step: settings.Step = "auto",
    ):
        self.architecture, self.device, self.spec = architecture, device, spec_of(architecture)
        self._null_class: int | None = architecture.get("null_class")
        networks.eval().requires_grad_(False)
        named: dict[str, Any] = dict(networks.items())
        self.vqgan: VQGAN = named["first_stage_model"]
        self.transformer: GPT | None = named.get("transformer")
        self._sampler: Sampler | None = None
        if self.transformer is not None:
            self._sampler = Sampler(self.transformer, *resolve(precision, step, device), self._null_class)

    @property
    def codebook(self) -> Tensor:
        """``[K, d]`` float32: the embedding of every code."""
        return self.vqgan.codebook

    def compose(self, vectors: Tensor) -> Tensor:
        """What extractors read, ``[B, d, h, w]``, of token vectors ``[B, P, d]``."""
        return vectors.transpose(1, 2).unflatten(2, self.spec.grid)

    def sample(
        self, classes: Sequence[int] | NDArray[np.integer], seeds: NDArray[np.uint64], sampling: Sampling
    ) -> Tensor:
        """Token grids int64 ``[B, h, w]`` of the classes ``[B]``; a grid is a function of its class and seed.

        The arithmetic differs in its last bits between batch shapes and devices: who wants the same grids again
        asks for the same batches (see :func:`cortex.data.draw.canonical_batches`).

        Raises:
            InputError: the generator is a VQGAN alone; or sampling is guided, and the GPT has no null class.
        """
        if self._sampler is None:
            raise InputError("this generator is a VQGAN without a transformer: it decodes grids, but cannot sample any")
        height, width = self.spec.grid
        tokens = self._sampler.draw(
            torch.as_tensor(classes, dtype=torch.int64, device=self.device),
            torch.as_tensor(uniforms(seeds, height * width), device=self.device),
            **sampling.model_dump(),
        )
        return tokens.view(-1, height, width)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Token grids int64 ``[B, h, w]`` of images uint8 ``[B, H, W, 3]``: the nearest code of every position."""
        return self.vqgan.encode(from_bytes(images.to(self.device), self.spec.pixels))

    @torch.inference_mode()
    def decode(self, grids: Tensor) -> Tensor:
        """Images uint8 ``[B, H, W, 3]`` of token grids int ``[B, h, w]``."""
        return to_bytes(self.vqgan.decode(grids.to(self.device, torch.int64)), self.spec.pixels)

    def prior(self) -> GptPrior | None:
        """The GPT's likelihoods, None of a VQGAN alone. Load the generator in float32 for it.

        Raises:
            InputError: the GPT does not know all codes of the codebook.
        """
        if self.transformer is None:
            return None
        known = self.transformer.config.vocab_size
        if known < len(self.codebook):
            raise InputError(
                f"the generator's transformer knows {known} of the codebook's {len(self.codebook)} codes: "
                "a grid may hold codes that it has no likelihood of"
            )
        return GptPrior(self.transformer, self._null_class)


def resolve(precision: Precision, step: settings.Step, device: torch.device) -> tuple[torch.dtype, Step]:
    """What ``auto`` stands for: float32 and plain steps on a CPU, bfloat16 and captured steps on a GPU.

    Not compiled ones: with hundreds of images a batch a step is bound by reading the cache, and to compile its eight
    shapes would take every job a good part of the time that it draws for.
    """
    on_gpu = device.type == "cuda"
    half = precision == "bfloat16" or (precision == "auto" and on_gpu)
    how: Step = ("captured" if on_gpu else "plain") if step == "auto" else step
    return torch.bfloat16 if half else torch.float32, how


def save_generator(
    path: Path, vqgan: VQGAN, transformer: GPT, architecture: dict[str, Any], *, half: bool = False
) -> None:
    """Write both networks' weights as one safetensors file with the architecture in its metadata.

    With ``half`` they are stored as float16; :func:`load` gives float32.

    Raises:
        InputError: with ``half``, a weight is too large for float16.
    """
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in vqgan.state_dict().items()}
    tensors |= {
        f"transformer.{name}": tensor
        for name, tensor in transformer.state_dict().items()
        if not name.endswith(CONSTANT)
    }
    write_weights(path, tensors, {"architecture": json.dumps(architecture)}, half=half)


def load(
    path: Path, device: torch.device, *, decode_only: bool, precision: Precision, step: settings.Step
) -> TamingGenerator:
    """The generator stored at ``path`` by :func:`save_generator`.

    Weights go from the file to the device, and exist once: on a CPU, those in float32 are the file, mapped into memory,
    which all processes share. Others become float32.

    Args:
        path: the weights.
        device: where to compute.
        decode_only: leave the transformer in the file.
        precision, step: of sampling; see :class:`TamingGenerator`.

    Raises:
        InputError: the file is missing, truncated, or not a generator's; missing or unexpected weights are listed.
    """
    tensors, metadata = read_weights(path, only="first_stage_model." if decode_only else "", device=device)
    architecture = architecture_of(metadata, path)
    try:
        networks = empty_networks(architecture | ({"transformer": None} if decode_only else {}))
    except Exception as error:  # taming's constructors check nothing; anything can go wrong in them
        raise InputError(f"{path}: no generator of its architecture can be built: {error!r}") from None
    tensors = {name: tensor.float() for name, tensor in tensors.items()} | _causal_masks(networks, device)
    load_into(networks, tensors, path, assign=True)
    return TamingGenerator(architecture, networks, device, precision=precision, step=step)


def _causal_masks(networks: nn.ModuleDict, device: torch.device) -> dict[str, Tensor]:
    """What taming's constructor puts into the attention's buffers, by name: one mask, for all layers."""
    masks = {name: tensor for name, tensor in networks.state_dict().items() if name.endswith(CONSTANT)}
    causal = {shape: torch.ones(shape, device=device).tril() for shape in {mask.shape for mask in masks.values()}}
    return {name: causal[mask.shape] for name, mask in masks.items()}

"""A generator made of networks: what a class looks like, as a token grid and as an image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.errors import InputError
from cortex.core.randomness import uniforms
from cortex.generators import settings
from cortex.generators.decoding import images_at_once
from cortex.generators.network.prior import PriorNetwork, RasterPrior, Sampler
from cortex.generators.network.raster import RasterSampler, Step
from cortex.generators.network.vqgan import VQGAN
from cortex.generators.pixels import from_bytes, to_bytes
from cortex.generators.sampling import Sampling
from cortex.generators.settings import Precision
from cortex.generators.spec import GeneratorSpec


class NetworkGenerator:
    """A tokenizer and, if it is to sample, a prior of its token grids, in eval mode.

    Args:
        spec: shapes and capabilities.
        networks: ``first_stage_model`` (the tokenizer) and perhaps ``transformer`` (the prior), on the device.
        device: where that is.
        null_class: the class index that stands for no class; None: the prior knows none.
        precision: of the prior's large products: float32, bfloat16, or auto: bfloat16 on a GPU.
        step: how the prior draws a token (see ``raster.Step``); auto: captured on a GPU.
    """

    def __init__(
        self,
        spec: GeneratorSpec,
        networks: nn.ModuleDict,
        device: torch.device,
        *,
        null_class: int | None = None,
        precision: Precision = "auto",
        step: settings.Step = "auto",
    ):
        self.spec, self.device, self._null_class = spec, device, null_class
        networks.eval().requires_grad_(False)
        named: dict[str, Any] = dict(networks.items())
        self.tokenizer: VQGAN = named["first_stage_model"]
        self.transformer: PriorNetwork | None = named.get("transformer")
        self._sampler: Sampler | None = None
        if self.transformer is not None:
            dtype, how = resolve(precision, step, device)
            self._sampler = self.transformer.sampler(dtype, how, null_class)

    @property
    def codebook(self) -> Tensor:
        """``[K, d]`` float32: the embedding of every code."""
        return self.tokenizer.codebook

    def compose(self, vectors: Tensor) -> Tensor:
        """What extractors read, ``[B, d, h, w]``, of token vectors ``[B, P, d]``."""
        if not self.spec.scales:
            return vectors.transpose(1, 2).unflatten(2, self.spec.grid)
        tokenizer: Any = self.tokenizer
        composed: Tensor = tokenizer.composition(vectors)
        return composed

    def sample(
        self, classes: Sequence[int] | NDArray[np.integer], seeds: NDArray[np.uint64], sampling: Sampling
    ) -> Tensor:
        """Token grids int64 ``[B, h, w]`` of the classes ``[B]``; a grid is a function of its class and seed.

        The arithmetic differs in its last bits between batch shapes and devices: who wants the same grids again
        asks for the same batches (see :func:`cortex.data.draw.canonical_batches`).

        Raises:
            InputError: the generator is a tokenizer alone; or sampling is guided, and the prior has no null class.
        """
        if self._sampler is None:
            raise InputError("this generator is a VQGAN without a transformer: it decodes grids, but cannot sample any")
        height, width = self.spec.grid
        tokens = self._sampler.draw(
            torch.as_tensor(classes, dtype=torch.int64, device=self.device),
            torch.as_tensor(uniforms(seeds, self._sampler.numbers(height * width, sampling)), device=self.device),
            sampling,
        )
        return tokens.view(-1, height, width)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Token grids int64 ``[B, h, w]`` of images uint8 ``[B, H, W, 3]``.

        Raises:
            InputError: the tokenizer has no encoder.
        """
        if not self.spec.encodes:
            raise InputError("this generator has no encoder: it decodes grids, but cannot encode images")
        parts = images.split(images_at_once(self.spec))
        return torch.cat([self.tokenizer.encode(from_bytes(part.to(self.device), self.spec.pixels)) for part in parts])

    @torch.inference_mode()
    def decode(self, grids: Tensor) -> Tensor:
        """Images uint8 ``[B, H, W, 3]`` of token grids int ``[B, h, w]``."""
        parts = grids.to(self.device, torch.int64).split(images_at_once(self.spec))
        return torch.cat([to_bytes(self.tokenizer.decode(part), self.spec.pixels) for part in parts])

    @torch.inference_mode()
    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """Images uint8 ``[B, H, W, 3]`` of token vectors float ``[B, P, d]``, which need be no code's."""
        parts = self.compose(vectors).split(images_at_once(self.spec))
        return torch.cat([to_bytes(self.tokenizer.decode_embeddings(part), self.spec.pixels) for part in parts])

    def prior(self) -> RasterPrior | None:
        """The likelihoods of grids; None of a tokenizer alone, and of a prior that draws many tokens at once.

        Load the generator in float32 for it.

        Raises:
            InputError: the prior does not know all codes of the codebook.
        """
        if not isinstance(self._sampler, RasterSampler):
            return None
        if not self.spec.prior:
            raise InputError(
                f"the generator's transformer does not know all of the codebook's {self.spec.codes} codes: "
                "a grid may hold codes that it has no likelihood of"
            )
        network: Any = self.transformer
        return RasterPrior(network, self._null_class)


def resolve(precision: Precision, step: settings.Step, device: torch.device) -> tuple[torch.dtype, Step]:
    """What ``auto`` stands for: float32 and plain steps on a CPU, bfloat16 and captured steps on a GPU.

    Not compiled ones: with hundreds of images a batch a step is bound by reading the cache, and to compile its eight
    shapes would take every job a good part of the time that it draws for.
    """
    on_gpu = device.type == "cuda"
    half = precision == "bfloat16" or (precision == "auto" and on_gpu)
    how: Step = ("captured" if on_gpu else "plain") if step == "auto" else step
    return torch.bfloat16 if half else torch.float32, how

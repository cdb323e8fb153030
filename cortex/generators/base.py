"""What the rest of the package knows of a generator: three protocols (METHOD.md, section 1).

A *family* builds generators of one kind from a weights file; a *generator* turns classes into token grids and grids
into images; a :class:`~cortex.generators.spec.GeneratorSpec` states its shapes. Nothing outside of a family's folder
names its networks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cortex.generators.settings import Precision, Sampling, Step
from cortex.generators.spec import GeneratorSpec


@runtime_checkable
class Generator(Protocol):
    """A class-conditional generator of token grids, in eval mode on a device.

    Grids are int64 ``[B, h, w]``; images are uint8 ``[B, H, W, 3]``, whatever range the decoder computes in. A
    sampled grid is a function of seed, class and sampling options alone.
    """

    spec: GeneratorSpec
    device: torch.device

    @property
    def codebook(self) -> Tensor:
        """Code vectors float32 ``[K, d]`` as looked up (normalised where the family normalises them)."""
        ...

    def compose(self, vectors: Tensor) -> Tensor:
        """What extractors read, float32 ``[B, d, h, w]``, of token vectors ``[B, P, d]``; differentiable.

        Flat grids are reshaped. A tokenizer of several scales adds up its scales here.
        """
        ...

    def sample(
        self, classes: Sequence[int] | NDArray[np.integer], seeds: NDArray[np.uint64], sampling: Sampling
    ) -> Tensor:
        """Draw a token grid for every class and seed.

        Raises:
            InputError: the generator decodes only.
        """
        ...

    def decode(self, grids: Tensor) -> Tensor:
        """Images of token grids.

        Raises:
            InputError: the generator is a codebook alone.
        """
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Token grids of images.

        Raises:
            InputError: the generator has no encoder.
        """
        ...

    def prior(self) -> "Prior | None":
        """The likelihood of grids, or None where the generator has none that can be evaluated."""
        ...


class Prior(Protocol):
    """Likelihood of token grids under a generator that draws them in a fixed order."""

    def log_probabilities(self, classes: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
        """Log-probabilities (nats) of all codes at some positions, float32 ``[B, p, K]``.

        Each is conditioned on the class and on the tokens that are drawn before it.

        Args:
            classes: int64 ``[B]``.
            tokens: flattened grids int64 ``[B, P]``.
            positions: p of the flattened grid.
        """
        ...


@dataclass(frozen=True)
class GeneratorCost:
    """Arithmetic and memory traffic of a generator, for the plan.

    Args:
        sample_flops: of drawing one grid.
        sample_bytes: bytes that one grid's sampling must read from the device's memory, in a batch of the plan's size.
        decode_flops: of decoding one grid.
        prior_flops: of the log-probabilities at positions up to a given one, by position (index: positions passed).
        weights_bytes: of the weights file.
    """

    sample_flops: float
    sample_bytes: float
    decode_flops: float
    prior_flops: tuple[float, ...]
    weights_bytes: float


class Family(Protocol):
    """One kind of generator. A module or an object with these attributes is a family."""

    def spec(self, weights: Path | None) -> GeneratorSpec:
        """Shapes and classes, from the metadata of a weights file, without torch where possible; None: bundled ones.

        Raises:
            InputError: the file is missing, damaged, or of another family.
        """
        ...

    def load(
        self,
        weights: Path | None,
        device: torch.device,
        *,
        decode_only: bool = False,
        precision: Precision = "auto",
        step: Step = "auto",
    ) -> Generator:
        """The generator of a weights file.

        Raises:
            InputError: the file is missing, damaged, or of another family.
        """
        ...

    def codebook(self, weights: Path | None) -> Tensor:
        """The codebook float32 ``[K, d]`` as looked up, without the rest of the file."""
        ...

    def cost(self, weights: Path | None, batch: int) -> GeneratorCost:
        """Cost of sampling in batches of so many images, and of decoding."""
        ...

    def files(self, folder: Path) -> list[Path]:
        """Files of a folder of published checkpoints that ``convert`` reads."""
        ...

    def convert(self, folder: Path, output: Path, class_names: Path | None) -> None:
        """Write a folder of published checkpoints as one weights file."""
        ...

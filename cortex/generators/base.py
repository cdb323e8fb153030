"""What the rest of the package knows of a generator: three protocols (METHOD.md, section 1).

A *family* builds generators of one kind from a weights file; a *generator* turns classes into token grids and grids
into images; a :class:`~cortex.generators.spec.GeneratorSpec` states its shapes. Nothing outside of a family's folder
names its networks. This module imports no torch, so that a config is read without it.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cortex.core.cost import GeneratorCost
from cortex.generators.sampling import Sampling
from cortex.generators.settings import Precision, Step
from cortex.generators.spec import GeneratorSpec, Origin

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor


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
            InputError: the generator decodes only; or sampling is guided, and it has no null class.
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

    def prior(self) -> Prior | None:
        """The likelihood of grids, or None where the generator has none that can be evaluated."""
        ...


class Prior(Protocol):
    """Likelihood of token grids under a generator that draws them in a fixed order.

    ``null_class`` is the class index that stands for no class in particular; None: there is none, and no guidance.
    """

    null_class: int | None

    def log_probabilities(self, classes: Tensor, tokens: Tensor, positions: Sequence[int]) -> Tensor:
        """Log-probabilities (nats) of all codes at some positions, float32 ``[B, p, K]``.

        Each is conditioned on the class and on the tokens that are drawn before it.

        Args:
            classes: int64 ``[B]``.
            tokens: flattened grids int64 ``[B, P]``.
            positions: p of the flattened grid.
        """
        ...


@runtime_checkable
class Family(Protocol):
    """One kind of generator. A module or an object with these functions is a family.

    A config names an :class:`~cortex.generators.spec.Origin`. Stages are given a weights file: that of the origin, or
    the one that ``convert`` has made of it. A path without suffix, where there is no such file, is the name of a
    generator that comes with the family. None is the family's default one, if it has one.
    """

    def spec(self, origin: Origin) -> GeneratorSpec:
        """Shapes and capabilities, read without torch: of a weights file, or of what is still to be converted.

        Raises:
            InputError: a file is missing, damaged, or of another family; or the origin states what it should not.
        """
        ...

    def files(self, origin: Origin) -> list[Path]:
        """The files that make the generator: a weights file, or those of a folder that ``convert`` reads.

        Raises:
            InputError: there are none.
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

        Args:
            weights: the file, or a name.
            device: where to compute.
            decode_only: whether weights that only sampling needs may be left in the file.
            precision: precision of the prior's large products.
            step: execution of a sampling step.

        Raises:
            InputError: the file is missing, damaged, or of another family.
        """
        ...

    def codebook(self, weights: Path | None) -> Tensor:
        """The codebook float32 ``[K, d]`` as looked up, without the rest of the file."""
        ...

    def cost(self, origin: Origin, *, batch: int, half: bool) -> GeneratorCost:
        """Cost of the generator, known without weights.

        Args:
            origin: where it comes from.
            batch: grids that are sampled at once.
            half: whether sampling computes in 16 bits.
        """
        ...

    def recognises(self, names: Set[str]) -> bool:
        """Whether published files that hold tensors of these names are the family's."""
        ...

    def convert(self, output: Path, origin: Origin) -> None:
        """Write the weights file of an origin that is none yet: published checkpoints, a codebook without its grid.

        Raises:
            InputError: the origin cannot be converted.
        """
        ...

"""A family of generators made of networks: what a family adds, and what all do alike.

This module imports no torch, so that a config is read without it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Set
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from cortex.core.cost import GeneratorCost
from cortex.core.errors import InputError, reason_of
from cortex.core.weights_metadata import read_metadata
from cortex.generators.network.architecture import stated_architecture, vqgan_shapes
from cortex.generators.network.prior_sizes import MaskedSize, PriorSize, ScaleSize
from cortex.generators.network.source import Source
from cortex.generators.sampling import Sampling
from cortex.generators.settings import Precision, Step
from cortex.generators.spec import GeneratorSpec, Origin

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from cortex.generators.network.generator import NetworkGenerator
    from cortex.generators.network.prior import PriorNetwork

WRONG = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)


class NetworkFamily(ABC):
    """What a family states of its published files and networks; it is a :class:`cortex.generators.base.Family`.

    ``name`` is the registered name, which weights files state. ``telltale`` are names of tensors of the published files
    that no other family's have together: any of the sets tells the family. ``borrowed`` are those by which its
    tokenizer would tell another family, whose tokenizer or network it is. ``masked`` states whether priors draw tokens
    of many positions at once: such a prior has no likelihood of grids.
    """

    name: ClassVar[str]
    telltale: ClassVar[tuple[frozenset[str], ...]]
    borrowed: ClassVar[frozenset[str]] = frozenset()
    masked: ClassVar[bool] = False

    # What a family adds

    @abstractmethod
    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        """What a folder of published files holds.

        Raises:
            InputError: a file is missing, or describes what the family does not do.
        """

    def build_prior(self, prior: dict[str, Any]) -> PriorNetwork:
        """The prior's network, an ``nn.Module``, of its arguments."""
        raise InputError(f"the family {self.name} has no prior")

    def build_tokenizer(self, tokenizer: dict[str, Any]) -> nn.Module:
        """The tokenizer's network of its arguments."""
        from cortex.generators.network.vqgan import VQGAN

        return VQGAN(**{name: value for name, value in tokenizer.items() if name != "pixels"})

    def connect(self, prior: Any, tokenizer: Any) -> None:  # noqa: B027
        """Give the prior's network what it reads of the tokenizer's: nothing, of most families."""

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        """Codes that a prior draws, and indices that stand for a class or none; a ValueError if it does not fit.

        ``spec`` is that of the tokenizer and the classes.
        """
        raise ValueError(f"the family {self.name} has no prior")

    def prior_size(self, prior: dict[str, Any]) -> PriorSize | MaskedSize | ScaleSize:
        """What decides the cost of a prior."""
        raise InputError(f"the family {self.name} has no prior")

    def published(self, prior: dict[str, Any]) -> Sampling:
        """How the authors sample from a prior for the figures of their paper."""
        return Sampling()

    def weights_file(self, weights: Path | None) -> Path:
        """The weights file of a file, or of the name of a generator that comes with the family.

        Raises:
            InputError: it is neither.
        """
        if weights is None:
            raise InputError(f"no {self.name} generator comes with CORTEX: name its weights, or a folder")
        return weights

    # What all do alike

    def architecture(self, origin: Origin) -> dict[str, Any]:
        """The architecture of a weights file, or of a folder.

        Raises:
            InputError: a file is missing, damaged, or of another family; or a grid is given to weights.
        """
        if origin.folder is not None:
            return self._checked_source(origin.folder, origin).architecture
        if origin.grid is not None:
            raise InputError(f"grid {list(origin.grid)}: should not be set: the networks state their own")
        path = self.weights_file(origin.weights)
        return self.checked_architecture(read_metadata(path), path)

    def _checked_source(self, folder: Path, origin: Origin) -> Source:
        source = self.source(folder, origin.class_names, origin.grid)
        try:
            self.spec_of(source.architecture)
        except WRONG as error:
            raise InputError(f"{folder}: its files make no generator: {error}") from None
        return source

    def checked_architecture(self, metadata: dict[str, str], path: Path) -> dict[str, Any]:
        """The architecture that the metadata of a weights file states.

        Raises:
            InputError: the file is no generator's, or of another family.
        """
        architecture = stated_architecture(metadata, path, self.name)
        try:
            self.spec_of(architecture)
        except WRONG as error:
            raise InputError(
                f"{path}: not a generator's weights: its 'architecture' is wrong: {reason_of(repr(error))}"
            ) from None
        return architecture

    def shapes(self, tokenizer: dict[str, Any]) -> dict[str, Any]:
        """Fields of the spec that the tokenizer's arguments state; a ValueError or the like if they are wrong."""
        return vqgan_shapes(tokenizer)

    def spec_of(self, architecture: dict[str, Any]) -> GeneratorSpec:
        """The spec of an architecture; a ValueError or the like if it is none."""
        prior = architecture["prior"]
        if not all(isinstance(name, str) for name in architecture["classes"]):
            raise ValueError("classes are names")
        spec = GeneratorSpec(tuple(architecture["classes"]), decodes=True, **self.shapes(architecture["tokenizer"]))
        if prior is None:
            return spec
        codes, indices = self.known(prior, spec)
        classes, null_class = len(spec.class_names), architecture["null_class"]
        if not 0 < classes <= indices:
            raise ValueError(f"a prior has classes, and knows {indices} of them")
        if null_class is not None and not (type(null_class) is int and classes <= null_class < indices):
            raise ValueError("null_class is an index that the prior knows and no class has")
        return replace(
            spec,
            samples=True,
            prior=codes == spec.codes and not self.masked,
            guidance=null_class is not None,
            published=self.published(prior),
        )

    def spec(self, origin: Origin) -> GeneratorSpec:
        return self.spec_of(self.architecture(origin))

    def files(self, origin: Origin) -> list[Path]:
        if origin.folder is not None:
            return self.source(origin.folder, origin.class_names, origin.grid).files()
        return [self.weights_file(origin.weights)]

    def load(
        self,
        weights: Path | None,
        device: torch.device,
        *,
        decode_only: bool = False,
        precision: Precision = "auto",
        step: Step = "auto",
    ) -> NetworkGenerator:
        from cortex.generators.network.load import load

        path = self.weights_file(weights)
        return load(self, path, device, decode_only=decode_only, precision=precision, step=step)

    def codebook(self, weights: Path | None) -> Tensor:
        from cortex.generators.network.codebook import read_codebook

        return read_codebook(self.weights_file(weights))

    def cost(self, origin: Origin, *, batch: int, half: bool) -> GeneratorCost:
        found: GeneratorCost = _beside("cost").cost_of(self, self.architecture(origin), batch=batch, half=half)
        if origin.folder is not None:
            return found
        return replace(found, weights_bytes=self.weights_file(origin.weights).stat().st_size)

    def recognises(self, names: Set[str]) -> bool:
        return any(telltale <= names for telltale in self.telltale)

    def convert(self, output: Path, origin: Origin) -> None:
        if origin.folder is None:
            raise InputError(f"only a folder of published files of {self.name} can be converted: name one")
        _beside("convert").convert_source(output, self, self._checked_source(origin.folder, origin))


def _beside(module: str) -> ModuleType:
    """A module of this folder that no stage of a run computes with: its code is no part of their fingerprints."""
    return importlib.import_module(f"cortex.generators.network.{module}")

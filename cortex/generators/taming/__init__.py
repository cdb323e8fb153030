"""taming-transformers: a VQGAN and a class-conditional GPT over its tokens (Esser et al., CVPR 2021).

Nothing outside of this folder names its networks. The family imports them when they are needed: a config is checked
without torch.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from cortex.core.cost import GeneratorCost
from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.settings import Precision, Step
from cortex.generators.spec import GeneratorSpec, Origin
from cortex.generators.taming.architecture import architecture_at, spec_of, weights_file
from cortex.generators.taming.project import files_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cortex.generators.taming.generator import TamingGenerator


class Taming:
    """The family; see :class:`cortex.generators.base.Family`. Its own generators are the bundled ones."""

    def spec(self, origin: Origin) -> GeneratorSpec:
        return spec_of(architecture_at(origin))

    def files(self, origin: Origin) -> list[Path]:
        if origin.folder is not None:
            return list(files_of(origin.folder))
        return [weights_file(origin.weights)]

    def load(
        self,
        weights: Path | None,
        device: torch.device,
        *,
        decode_only: bool = False,
        precision: Precision = "auto",
        step: Step = "auto",
    ) -> TamingGenerator:
        from cortex.generators.taming.generator import load

        return load(weights_file(weights), device, decode_only=decode_only, precision=precision, step=step)

    def codebook(self, weights: Path | None) -> Tensor:
        from cortex.generators.taming.codebook import read_codebook

        return read_codebook(weights_file(weights))

    def cost(self, origin: Origin, *, batch: int, half: bool) -> GeneratorCost:
        found: GeneratorCost = _beside("cost").cost_of(architecture_at(origin), batch=batch, half=half)
        if origin.folder is not None:
            return found
        return replace(found, weights_bytes=weights_file(origin.weights).stat().st_size)

    def convert(self, output: Path, origin: Origin) -> None:
        if origin.folder is None:
            raise InputError("only a folder of taming-transformers can be converted: name one")
        _beside("convert").convert_generator(output, origin.folder, class_names=origin.class_names)


def _beside(module: str) -> ModuleType:
    """A module of this folder that no stage of a run computes with: its code is no part of their fingerprints."""
    return importlib.import_module(f"{__name__}.{module}")


FAMILY: Family = Taming()

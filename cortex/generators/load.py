"""Generators by family and weights file, as the rest of the package asks for them. No torch before one is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.generators import DEFAULT_FAMILY, GENERATORS
from cortex.generators.base import Family, Generator
from cortex.generators.settings import GeneratorSettings, Precision, Step
from cortex.generators.spec import GeneratorSpec, Origin

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cortex.generators.scales import Composition


def load_family(family: str) -> Family:
    """The family of a registered name, or of a reference ``module:Attribute``.

    Raises:
        InputError: there is none, or it cannot be imported.
    """
    found: Family = GENERATORS.load(family)
    return found


def load_generator(
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    *,
    family: str = DEFAULT_FAMILY,
    decode_only: bool = False,
    precision: Precision = "auto",
    step: Step = "auto",
) -> Generator:
    """The generator of a weights file, or of a name, such as "landuse"; None: the family's default one.

    Args:
        weights: weights file (safetensors), or the name of a generator that comes with the family.
        device: where to compute.
        family: a registered name, or ``module:Attribute``.
        decode_only: leave weights in the file that only sampling needs.
        precision: precision of the prior's large products; auto: bfloat16 on a GPU, float32 on a CPU.
        step: execution of a sampling step; auto: captured on a GPU, plain on a CPU.

    Raises:
        InputError: there is no such family; or the file is missing, damaged, or of another family.
    """
    import torch

    return load_family(family).load(
        None if weights is None else Path(weights),
        torch.device(device),
        decode_only=decode_only,
        precision=precision,
        step=step,
    )


def generator_spec(weights: Path | None = None, family: str = DEFAULT_FAMILY) -> GeneratorSpec:
    """Shapes and capabilities of the generator of a weights file, without torch; None: of the default one.

    Raises:
        InputError: there is no such family; or the file is missing, damaged, or of another family.
    """
    return load_family(family).spec(Origin(weights))


def spec_of_settings(settings: GeneratorSettings) -> GeneratorSpec:
    """Shapes and capabilities of the generator that a config names, whether it is converted yet or not.

    Raises:
        InputError: there is no such family, or its files are missing, damaged, or of another family.
    """
    return load_family(settings.family).spec(settings.origin())


def generator_of_run(run: Path, family: str, weights: Path | None, *, own_classes: bool) -> tuple[str, Path | None]:
    """Family and weights file of a run's generator.

    Args:
        run: folder of the run.
        family, weights: of its config.
        own_classes: whether the run is about pictures alone: then it made a file of the family tokenizer.
    """
    if own_classes:
        return "tokenizer", run / "generator" / "tokenizer.safetensors"
    converted = run / "generator" / "weights.safetensors"
    return family, converted if converted.is_file() else weights


def read_codebook(weights: Path | None = None, family: str = DEFAULT_FAMILY) -> Tensor:
    """The codebook float32 ``[K, d]``, as looked up, of the generator of a weights file; None: of the default one.

    Raises:
        InputError: there is no such family; or the file is missing, damaged, or of another family.
    """
    return load_family(family).codebook(weights)


def read_composition(weights: Path | None = None, family: str = DEFAULT_FAMILY) -> Composition | None:
    """From token vectors of several scales to what extractors read; None: tokens have one scale.

    Raises:
        InputError: there is no such family; or the file is missing, damaged, or of another family.
    """
    found: Any = load_family(family)
    composition: Composition | None = found.composition(weights) if generator_spec(weights, family).scales else None
    return composition

"""A codebook alone, for runs that explain imported grids: it neither draws, decodes nor encodes.

Its weights file is a safetensors file of one tensor, ``codebook`` ``[K, d]``. The metadata's ``architecture`` is JSON:
``{"grid": [h, w], "classes": [names]}``. Of tokens of several scales it also states ``scales``, and the file holds the
weights of their composition (:mod:`cortex.generators.scales`). For a file without metadata, such as ``.npy`` or
``.pt``, the config states the grid and the class names, and a run converts it first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from safetensors import SafetensorError, safe_open

from cortex.core.cost import GeneratorCost
from cortex.core.errors import InputError, reason_of
from cortex.core.file_kinds import SAFETENSORS, not_whole
from cortex.generators.base import Family
from cortex.generators.class_names import read_class_names
from cortex.generators.codebook_files import KINDS, codebook_shape, read_codebook_file
from cortex.generators.sampling import Sampling
from cortex.generators.settings import Precision, Step
from cortex.generators.spec import MAX_CODES, GeneratorSpec, Origin

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from cortex.generators.scales import Composition

CODEBOOK = "codebook"  # name of the tensor
COMPOSITION = "composition."  # begins the names of the composition's weights


class CodebookGenerator:
    """A codebook on a device; see :class:`cortex.generators.base.Generator`."""

    def __init__(self, spec: GeneratorSpec, codebook: Tensor, composition: Composition | None = None):
        self.spec, self.codebook, self.device, self._composition = spec, codebook, codebook.device, composition

    def compose(self, vectors: Tensor) -> Tensor:
        """What extractors read, ``[B, d, h, w]``, of token vectors ``[B, P, d]``."""
        if self._composition is not None:
            composed: Tensor = self._composition(vectors)
            return composed
        return vectors.transpose(1, 2).unflatten(2, self.spec.grid)

    def sample(
        self, classes: Sequence[int] | NDArray[np.integer], seeds: NDArray[np.uint64], sampling: Sampling
    ) -> NoReturn:
        raise InputError("this generator is a codebook alone: it cannot sample grids")

    def decode(self, grids: Tensor) -> NoReturn:
        raise InputError("this generator is a codebook alone: it cannot decode grids")

    def encode(self, images: Tensor) -> NoReturn:
        raise InputError("this generator is a codebook alone: it cannot encode images")

    def prior(self) -> None:
        return None


class CodebookAlone:
    """The family; see :class:`cortex.generators.base.Family`."""

    def spec(self, origin: Origin) -> GeneratorSpec:
        path = _path(origin.weights)
        shape, stated = (codebook_shape(path), None) if path.suffix in KINDS else _described(path)
        if len(shape) != 2 or not 1 <= shape[0] <= MAX_CODES or shape[1] < 1:
            raise InputError(f"{path}: not a codebook: expected a tensor '{CODEBOOK}' [K, d] of at most 65,536 codes")
        grid, names, scales = _stated(stated, path)
        if origin.class_names is not None:
            names = tuple(read_class_names(origin.class_names))
        grid = origin.grid or grid
        if grid is None:
            raise InputError(f"{path}: states no grid: set generator.grid, such as [16, 16]")
        return GeneratorSpec(names, grid, codes=shape[0], channels=shape[1], scales=scales)

    def files(self, origin: Origin) -> list[Path]:
        return [_path(origin.weights)]

    def load(
        self,
        weights: Path | None,
        device: torch.device,
        *,
        decode_only: bool = False,
        precision: Precision = "auto",
        step: Step = "auto",
    ) -> CodebookGenerator:
        spec, composition = self.spec(Origin(weights)), None
        if spec.scales and (found := self.composition(weights)) is not None:
            composition = found.to(device)
        return CodebookGenerator(spec, self.codebook(weights).to(device), composition)

    def codebook(self, weights: Path | None) -> Tensor:
        from cortex.core.weights import read_weights

        path = _path(weights)
        if path.suffix in KINDS:
            return read_codebook_file(path)
        tensors, _ = read_weights(path, only=CODEBOOK)
        if CODEBOOK not in tensors:
            raise InputError(f"{path}: not a codebook: it has no tensor '{CODEBOOK}'")
        return tensors[CODEBOOK].float()

    def composition(self, weights: Path | None) -> Composition | None:
        """See :func:`cortex.generators.load.read_composition`."""
        from cortex.core.weights import read_weights

        return composition_of(*read_weights(_path(weights)))

    def cost(self, origin: Origin, *, batch: int, half: bool) -> GeneratorCost:
        spec = self.spec(origin)
        return GeneratorCost(0, 0, 0, (), weights_bytes=4 * spec.codes * spec.channels)

    def recognises(self, names: Set[str]) -> bool:
        return names == {CODEBOOK}

    def convert(self, output: Path, origin: Origin) -> None:
        from cortex.core.weights import write_weights

        write_weights(output, {CODEBOOK: self.codebook(origin.weights)}, codebook_metadata(self.spec(origin)))


def codebook_metadata(spec: GeneratorSpec) -> dict[str, str]:
    """Metadata of a codebook's file that make it a generator of this family."""
    scales = {"scales": spec.scales} if spec.scales else {}
    return {"architecture": json.dumps({"grid": spec.grid, "classes": spec.class_names} | scales)}


def composition_of(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Composition | None:
    """The composition of a codebook's tensors and metadata; None: tokens have one scale."""
    from cortex.generators.scales import Composition

    scales = json.loads(metadata.get("architecture", "{}")).get("scales")
    found = {name.removeprefix(COMPOSITION): each for name, each in tensors.items() if name.startswith(COMPOSITION)}
    return Composition.of_weights(scales, found) if scales else None


def _path(weights: Path | None) -> Path:
    if weights is None:
        raise InputError("a codebook alone has no weights of its own: name the file of a codebook")
    return weights


def _described(path: Path) -> tuple[Sequence[int], str | None]:
    """Shape of the codebook, if there is one, and the architecture that a safetensors file states."""
    try:
        with safe_open(path, framework="numpy") as file:
            shape = file.get_slice(CODEBOOK).get_shape() if CODEBOOK in file.keys() else []  # noqa: SIM118
            return shape, (file.metadata() or {}).get("architecture")
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError) as error:
        raise not_whole(path, SAFETENSORS, error) from None


def _stated(architecture: str | None, path: Path) -> tuple[tuple[int, int] | None, tuple[str, ...], tuple[int, ...]]:
    """Grid, class names and scales of the metadata, where it states them."""
    if architecture is None:
        return None, (), ()
    from cortex.generators.scales import FILTERS

    try:
        stated: dict[str, Any] = json.loads(architecture)
        (height, width), names = stated["grid"], tuple(stated["classes"])
        scales = tuple(stated.get("scales", ()))
        if not all(type(side) is int and side > 0 for side in (height, width, *scales)):
            raise ValueError("the sides of a grid are whole numbers from 1 on")
        tokens = sum(side * side for side in scales)
        if scales and (len(scales) != len(FILTERS) or (height, width) != (1, tokens)):
            raise ValueError(f"scales are {len(FILTERS)} sides, and the grid is one row of their {tokens} tokens")
        if not all(isinstance(name, str) for name in names):
            raise ValueError("classes are names")
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(
            f"{path}: not a codebook's metadata: its 'architecture' is wrong: {reason_of(repr(error))}"
        ) from None
    return (height, width), names, scales


FAMILY: Family = CodebookAlone()

"""The tokenizer of another generator with classes of its own: it encodes and decodes, and draws nothing.

A run on pictures of other classes than the generator's makes such a file. It holds no weights: its metadata's
``architecture`` is JSON, ``{"family": ..., "weights": ..., "classes": [names]}``, and names the generator.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from cortex.core.cost import GeneratorCost
from cortex.core.errors import InputError, reason_of
from cortex.core.weights_metadata import read_metadata
from cortex.generators import DEFAULT_FAMILY, GENERATORS
from cortex.generators.base import Family, Generator
from cortex.generators.load import generator_spec, load_family, load_generator, read_codebook, read_composition
from cortex.generators.sampling import Sampling
from cortex.generators.settings import Precision, Step
from cortex.generators.spec import GeneratorSpec, Origin, is_name

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from cortex.generators.scales import Composition


class Stated(NamedTuple):
    """What a tokenizer's file states: the generator, and the classes that take the place of the generator's."""

    family: str
    weights: Path | None
    class_names: tuple[str, ...]


class Tokenizer:
    """A generator's tokenizer on a device; see :class:`cortex.generators.base.Generator`."""

    def __init__(self, spec: GeneratorSpec, model: Generator):
        self.spec, self._model, self.device = spec, model, model.device

    @property
    def codebook(self) -> Tensor:
        """``[K, d]`` float32."""
        return self._model.codebook

    def compose(self, vectors: Tensor) -> Tensor:
        """What extractors read, ``[B, d, h, w]``, of token vectors ``[B, P, d]``."""
        return self._model.compose(vectors)

    def sample(
        self, classes: Sequence[int] | NDArray[np.integer], seeds: NDArray[np.uint64], sampling: Sampling
    ) -> NoReturn:
        raise InputError("this generator is a tokenizer alone: it cannot sample grids")

    def decode(self, grids: Tensor) -> Tensor:
        """Images uint8 ``[B, H, W, 3]`` of token grids."""
        return self._model.decode(grids)

    def decode_vectors(self, vectors: Tensor) -> Tensor:
        """Images uint8 ``[B, H, W, 3]`` of token vectors ``[B, P, d]`` of several scales."""
        model: Any = self._model  # generators of several scales alone have it
        decoded: Tensor = model.decode_vectors(vectors)
        return decoded

    def encode(self, images: Tensor) -> Tensor:
        """Token grids int64 ``[B, h, w]`` of images uint8 ``[B, H, W, 3]``."""
        return self._model.encode(images)

    def prior(self) -> None:
        return None


class TokenizerAlone:
    """The family; see :class:`cortex.generators.base.Family`."""

    def spec(self, origin: Origin) -> GeneratorSpec:
        stated = _stated(_path(origin.weights))
        return generator_spec(stated.weights, stated.family).with_classes(stated.class_names)

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
    ) -> Tokenizer:
        stated = _stated(_path(weights))
        model = load_generator(stated.weights, device, family=stated.family, decode_only=True)
        return Tokenizer(model.spec.with_classes(stated.class_names), model)

    def codebook(self, weights: Path | None) -> Tensor:
        stated = _stated(_path(weights))
        return read_codebook(stated.weights, stated.family)

    def composition(self, weights: Path | None) -> Composition | None:
        """See :func:`cortex.generators.load.read_composition`."""
        stated = _stated(_path(weights))
        return read_composition(stated.weights, stated.family)

    def cost(self, origin: Origin, *, batch: int, half: bool) -> GeneratorCost:
        stated = _stated(_path(origin.weights))
        return load_family(stated.family).cost(Origin(stated.weights), batch=batch, half=half)

    def recognises(self, names: Set[str]) -> bool:
        return False

    def convert(self, output: Path, origin: Origin) -> None:
        raise InputError("a tokenizer is not converted: cortex write-tokenizer writes it")


def write_tokenizer(
    output: Path, *, classes: tuple[str, ...], family: str = DEFAULT_FAMILY, generator: Path | None = None
) -> None:
    """Write a weights file of the family tokenizer: a generator's tokenizer, for images of other classes.

    The file names the generator's weights file by its place relative to the output.

    Args:
        output: file to write (safetensors).
        classes: class names, in the order of the class indices.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
    """
    from cortex.core.weights import write_weights

    if family == "tokenizer":
        raise InputError("family = 'tokenizer': a tokenizer cannot wrap a tokenizer; allowed: every other family")
    generator_spec(generator, family)
    weights = None if generator is None else str(generator)
    if generator is not None and not is_name(generator):
        weights = os.path.relpath(generator.resolve(), output.parent.resolve())
    stated = {"family": family, "weights": weights, "classes": classes}
    write_weights(output, {}, {"architecture": json.dumps(stated, ensure_ascii=False)})


def _path(weights: Path | None) -> Path:
    if weights is None:
        raise InputError("a tokenizer has no weights of its own: name the file that cortex write-tokenizer wrote")
    return weights


def _stated(path: Path) -> Stated:
    """What the file states.

    Raises:
        InputError: it is missing or no tokenizer's, or its family is code from outside that is not allowed.
    """
    metadata = read_metadata(path)
    try:
        found = json.loads(metadata["architecture"])
        family, weights, names = found["family"], found["weights"], tuple(found["classes"])
        if not all(isinstance(text, str) for text in (family, *names, *([] if weights is None else [weights]))):
            raise ValueError("family, weights and classes are text")
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(
            f"{path}: not a tokenizer's file: its 'architecture' is wrong: {reason_of(repr(error))}"
        ) from None
    if family == "tokenizer":
        raise InputError(f"{path}: a tokenizer of a tokenizer; the file should name a generator of another family")
    GENERATORS.check_stated(family, path)
    if weights is not None and not is_name(path.parent / weights):
        weights = path.parent / weights
    return Stated(family, None if weights is None else Path(weights), names)


FAMILY: Family = TokenizerAlone()

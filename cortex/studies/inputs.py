"""Inputs of a study's rows: the test images of one trained extractor, with their token importance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor, nn

from cortex.core.errors import InputError
from cortex.core.messages import one_line
from cortex.core.settings import Section
from cortex.data.decoded import decoded_rows
from cortex.data.tokens import Tokens
from cortex.explain import TIS
from cortex.explain.settings import Importance
from cortex.extractors.network import load_with_codebook

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True)
class StudyInputs:
    """What a run has of one trained extractor.

    Args:
        images: the test split, with ``scores["importance"]`` by ``attribution``.
        extractor: weights of the extractor.
        codebook: the generator's codebook.
        importance: settings that the importance was computed with.
        decoded: files of the decoded test images, in their order; none in a run without images.
        batch: images that an extractor or a judge classifies at once.
        extra: further files, by the names that the study gives them.
        attribution: method of the importance, the first of the run's.
    """

    images: Tokens
    extractor: Path
    codebook: Path
    importance: Importance
    decoded: Sequence[Path] = ()
    batch: int = 100
    extra: Mapping[str, Path] = field(default_factory=dict)
    attribution: str = TIS

    def load(self, device: torch.device) -> tuple[nn.Module, Tensor]:
        """The extractor, in eval mode and without gradients for its weights, and the codebook ``[K, d]``.

        Raises:
            InputError: a file is missing or damaged, or they do not go together.
        """
        return load_with_codebook(self.extractor, self.codebook, device)

    def first(self, per_class: int) -> Tokens:
        """The first images of every class.

        Raises:
            InputError: a class has fewer.
        """
        return self.images.take(self.images.first(per_class))

    def pictures(self, images: Tokens) -> NDArray[np.uint8]:
        """Decoded images uint8 ``[N, H, W, 3]`` of some of the test images.

        Raises:
            InputError: the run has none, or a file is missing or damaged.
        """
        return decoded_rows(self.images, self.decoded, self.images.rows_of(images.keys))


def on_device(images: Tokens, device: torch.device) -> tuple[Tensor, Tensor]:
    """Grids int64 ``[N, h, w]`` and labels int64 ``[N]`` of images, on a device."""
    return torch.from_numpy(images.grids).to(device), torch.from_numpy(images.labels).to(device)


def from_json(section: type[SectionT], option: str, text: str) -> SectionT:
    """A section of settings from the JSON of a command's option.

    Raises:
        InputError: it is no JSON, or a setting is unknown or wrong.
    """
    try:
        return section.model_validate_json(text)
    except ValidationError as error:
        raise InputError(one_line(error, section, f"--{option.replace('_', '-')}")) from None

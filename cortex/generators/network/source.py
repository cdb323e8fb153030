"""Published files of a generator, and how their tensors become the weights of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.core.errors import InputError, quoted

if TYPE_CHECKING:
    from torch import Tensor


def unchanged(name: str) -> str:
    """The same name."""
    return name


def whole(name: str) -> tuple[str, ...]:
    """The name alone."""
    return (name,)


@dataclass(frozen=True)
class Part:
    """A published file of tensors.

    Args:
        path: a checkpoint or a safetensors file.
        rename: our name of a tensor of the file.
        dropped: regular expressions of whole names in the file: tensors that are left out.
        changed: what becomes of some tensors, by our name.
        divided: names of the equal parts that a tensor's rows are divided into, by our name of it; the name alone of
            one that is not.
    """

    path: Path
    rename: Callable[[str], str] = unchanged
    dropped: tuple[str, ...] = ()
    changed: Mapping[str, Callable[[Tensor], Tensor]] = field(default_factory=dict)
    divided: Callable[[str], tuple[str, ...]] = whole

    def drops(self, name: str) -> bool:
        """Whether a tensor of the file is left out."""
        return any(re.fullmatch(pattern, name) for pattern in self.dropped)


@dataclass(frozen=True)
class Source:
    """What a folder of published files holds.

    Args:
        architecture: of the generator; see :mod:`cortex.generators.network.architecture`.
        parts: files of tensors.
        described: the file that describes the networks, if it is none of the parts.
    """

    architecture: dict[str, Any]
    parts: tuple[Part, ...]
    described: Path | None = None

    def files(self) -> list[Path]:
        """All files."""
        return [*([] if self.described is None else [self.described]), *(part.path for part in self.parts)]


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a file's tensors by their names there. This imports torch.

    Raises:
        InputError: the file is missing or damaged.
    """
    from cortex.core.checkpoint import open_checkpoint

    with open_checkpoint(path) as opened:
        return {name: tensor.shape for name, tensor in opened.tensors.items()}


def first_match(folder: Path, patterns: Iterable[str]) -> Path:
    """The one file in ``folder`` that the first matching pattern names.

    Raises:
        InputError: there is none, or there are several.
    """
    patterns = tuple(patterns)
    for pattern in patterns:
        found = sorted(folder.glob(pattern))
        if len(found) > 1:
            raise InputError(
                f"{folder}: several files {pattern}, where one is expected: {quoted([path.name for path in found])}"
            )
        if found:
            return found[0]
    raise InputError(f"{folder}: none of {', '.join(patterns)} is there")

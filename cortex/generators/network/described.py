"""What loading, counting and converting ask of a family of generators made of networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cortex.generators.network.prior_sizes import MaskedSize, PriorSize, ScaleSize
from cortex.generators.spec import GeneratorSpec

if TYPE_CHECKING:
    from torch import nn

    from cortex.generators.network.prior import PriorNetwork


class Described(Protocol):
    """A family that describes its networks; :class:`cortex.generators.network.family.NetworkFamily` is one."""

    @property
    def masked(self) -> bool:
        """Whether priors draw tokens of many positions at once."""

    def build_prior(self, prior: dict[str, Any]) -> PriorNetwork:
        """The prior's network of its arguments."""

    def build_tokenizer(self, tokenizer: dict[str, Any]) -> nn.Module:
        """The tokenizer's network of its arguments."""

    def connect(self, prior: Any, tokenizer: Any) -> None:
        """Give the prior's network what it reads of the tokenizer's."""

    def prior_size(self, prior: dict[str, Any]) -> PriorSize | MaskedSize | ScaleSize:
        """What decides the cost of a prior."""

    def spec_of(self, architecture: dict[str, Any]) -> GeneratorSpec:
        """The spec of an architecture."""

    def checked_architecture(self, metadata: dict[str, str], path: Path) -> dict[str, Any]:
        """The architecture that the metadata of a weights file states."""

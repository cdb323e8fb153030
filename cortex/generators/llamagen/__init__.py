"""LlamaGen, class-conditional: a VQGAN, and a transformer as of language over its tokens (Sun et al., 2024).

A folder holds a tokenizer (``vq_ds16_c2i.pt``, ``vq_ds8_c2i.pt``, or safetensors) and, if it is to sample, one of
``c2i_*.pt``. Shapes tell sizes; no file tells the grid, which its name or ``generator.grid`` states.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.generators.base import Family
from cortex.generators.llamagen.sizes import hidden_units, published
from cortex.generators.network.architecture import known_of
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.prior_sizes import PriorSize
from cortex.generators.network.source import Source
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec

if TYPE_CHECKING:
    from cortex.generators.llamagen.networks import LlamaTransformer


TOKENIZER = frozenset({"quantize.embedding.weight", "decoder.conv_blocks.0.res.0.norm1.weight"})


class LlamaGen(NetworkFamily):
    """The family. Its codebook is normalised at conversion: the authors normalise it at every look-up."""

    name = "llamagen"
    telltale = (
        frozenset({"cls_embedding.embedding_table.weight", "layers.0.attention.wqkv.weight"}),
        TOKENIZER,
    )

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        from cortex.generators.llamagen.files import source_of

        return source_of(self.name, folder, class_names, grid)

    def build_prior(self, prior: dict[str, Any]) -> LlamaTransformer:
        from cortex.generators.llamagen.networks import LlamaTransformer

        return LlamaTransformer(**prior)

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        return rotating(prior, spec)

    def prior_size(self, prior: dict[str, Any]) -> PriorSize:
        width = prior["width"]
        products = 4 * width**2 + 3 * width * hidden_units(width)
        return PriorSize(prior["layers"], width, products, outputs=prior["codes"])

    def published(self, prior: dict[str, Any]) -> Sampling:
        return published(prior["width"], prior["layers"])


def rotating(prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
    """Codes and indices of classes that a prior with rotating heads knows; a ValueError if it does not fit."""
    if prior["width"] % (4 * prior["heads"]):
        raise ValueError("a head has a multiple of four channels, which rotate by row and column")
    return known_of(prior, spec)


FAMILY: Family = LlamaGen()

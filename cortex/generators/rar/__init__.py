"""RAR, class-conditional: MaskGIT's tokenizer, and a transformer that learned tokens in any order (Yu et al., 2024).

A folder holds the tokenizer (``maskgit-vqgan-imagenet-f16-256.bin``) and, if it is to sample, one of ``rar_*.bin``.
Shapes tell everything: sizes, heads, and the grid. It draws row by row.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.network.architecture import known_of
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.prior_sizes import PriorSize
from cortex.generators.network.source import Source
from cortex.generators.rar.sizes import SIZES
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec

if TYPE_CHECKING:
    from cortex.generators.rar.networks import RarTransformer
    from cortex.generators.rar.tokenizer import MaskgitVQGAN

SIDE = 16  # of the grids of the published tokenizer


class Rar(NetworkFamily):
    """The family."""

    name = "rar"
    telltale = (
        frozenset({"target_aware_pos_embed", "timesteps_embeddings", "lm_head.weight"}),
        frozenset({"quantize.embedding.weight", "decoder.up.1.upsample_conv.weight", "encoder.mid.0.norm1.weight"}),
    )

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        from cortex.generators.rar.files import source_of

        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: it is {SIDE} × {SIDE}")
        return source_of(self.name, folder, class_names, SIDE)

    def build_tokenizer(self, tokenizer: dict[str, Any]) -> MaskgitVQGAN:
        from cortex.generators.rar.tokenizer import MaskgitVQGAN

        return MaskgitVQGAN(**{name: value for name, value in tokenizer.items() if name != "pixels"})

    def build_prior(self, prior: dict[str, Any]) -> RarTransformer:
        from cortex.generators.rar.networks import RarTransformer

        return RarTransformer(**prior)

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        return known_of(prior, spec)

    def prior_size(self, prior: dict[str, Any]) -> PriorSize:
        width = prior["width"]
        products = (4 + 6) * width**2 + 2 * width * prior["hidden"]  # and the adaptive norms'
        return PriorSize(prior["layers"], width, products, outputs=prior["codes"] + 2 * width, lead=1)

    def published(self, prior: dict[str, Any]) -> Sampling:
        size = SIZES.get((prior["width"], prior["layers"]))
        if size is None:
            return Sampling(top_k=None, top_p=None)
        return Sampling(
            temperature=size.temperature,
            top_k=None,
            top_p=None,
            guidance=size.guidance,
            guidance_schedule="power_cosine",
            guidance_power=size.power,
        )


FAMILY: Family = Rar()

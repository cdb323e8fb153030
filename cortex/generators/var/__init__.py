"""VAR, class-conditional: token maps of ten scales, and a transformer that draws scale by scale (Tian et al., 2024).

A folder holds the tokenizer (``vae_ch160v4096z32.pth``) and, if it is to sample, one of ``var_d*.pth``. Shapes tell
sizes and heads; the number of positions tells the scales.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.network.architecture import vqgan_shapes
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.prior_sizes import ScaleSize
from cortex.generators.network.source import Source
from cortex.generators.sampling import Sampling
from cortex.generators.spec import MAX_CODES, GeneratorSpec, Origin
from cortex.generators.taming import TOKENIZER

if TYPE_CHECKING:
    from torch import Tensor

    from cortex.generators.scales import Composition
    from cortex.generators.var.networks import VarTransformer
    from cortex.generators.var.tokenizer import ScaleVQGAN

SCALES = 10  # of all published sizes; the filters of the tokenizer are those of ten


class Var(NetworkFamily):
    """The family. A grid is one row of all tokens; codes of a scale are numbered after those of coarser scales."""

    name = "var"
    masked = True
    telltale = (
        frozenset({"pos_1LC", "lvl_embed.weight", "blocks.0.attn.scale_mul_1H11"}),
        frozenset({"quantize.quant_resi.qresi_ls.0.weight"}),
    )
    borrowed = TOKENIZER  # names that the tokenizer's tensors have, too

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        from cortex.generators.var.files import source_of

        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: tokens have {SCALES} scales")
        return source_of(self.name, folder, class_names)

    def build_tokenizer(self, tokenizer: dict[str, Any]) -> ScaleVQGAN:
        from cortex.generators.var.tokenizer import ScaleVQGAN

        return ScaleVQGAN(**{name: value for name, value in tokenizer.items() if name != "pixels"})

    def build_prior(self, prior: dict[str, Any]) -> VarTransformer:
        from cortex.generators.var.networks import VarTransformer

        return VarTransformer(**prior)

    def connect(self, prior: VarTransformer, tokenizer: ScaleVQGAN) -> None:
        prior.tokenizer = (tokenizer,)  # in a tuple: its weights are not the prior's

    def shapes(self, tokenizer: dict[str, Any]) -> dict[str, Any]:
        found, sides = vqgan_shapes(tokenizer), tuple(tokenizer["sides"])
        if not all(type(side) is int and side > 0 for side in sides) or len(sides) != SCALES:
            raise ValueError(f"sides are {SCALES} whole numbers from 1 on")
        if (sides[-1], sides[-1]) != found["grid"]:
            raise ValueError(f"the last of the sides is {sides[-1]}, and the decoder's map has {found['grid'][0]}")
        if (codes := SCALES * found["codes"]) > MAX_CODES:
            raise ValueError(f"{codes:,} codes of all scales: allowed: {MAX_CODES:,}, as grids are stored in 16 bits")
        return found | {"grid": (1, sum(side**2 for side in sides)), "codes": codes, "scales": sides}

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        own = tuple(prior["sides"]), SCALES * prior["codes"], prior["channels"]
        if own != (of_tokenizer := (spec.scales, spec.codes, spec.channels)):
            raise ValueError(f"the prior has sides, codes and channels {own}, the tokenizer {of_tokenizer}")
        return spec.codes, prior["classes"] + 1

    def prior_size(self, prior: dict[str, Any]) -> ScaleSize:
        width, layers = prior["width"], prior["layers"]
        return ScaleSize(
            layers,
            width,
            products=4 * width**2 + 2 * width * prior["hidden"],
            logits=prior["codes"],
            channels=prior["channels"],
            once=(6 * (1 if prior["shared"] else layers) + 2) * width**2,
            sides=tuple(prior["sides"]),
        )

    def published(self, prior: dict[str, Any]) -> Sampling:
        return Sampling(top_k=900, top_p=0.96, guidance=2.5, guidance_schedule="linear")  # README.md: cfg 1.5

    def codebook(self, weights: Path | None) -> Tensor:
        from cortex.generators.var.tokenizer import repeated

        return repeated(super().codebook(weights), SCALES)

    def composition(self, weights: Path | None) -> Composition:
        """See :func:`cortex.generators.load.read_composition`."""
        from cortex.core.weights import read_weights
        from cortex.generators.scales import Composition

        prefix = "first_stage_model.quantize.quant_resi."
        tensors, _ = read_weights(self.weights_file(weights), only=prefix)
        found = {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items()}
        return Composition.of_weights(self.spec(Origin(weights)).scales, found)


FAMILY: Family = Var()

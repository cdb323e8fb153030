"""Halton-MaskGIT, class-conditional: LlamaGen's tokenizer, and a transformer that fills in masks (2025).

A folder holds the tokenizer (``vq_ds16_c2i.pt``) and one of ``ImageNet_*.pth``. Shapes tell sizes and the grid; heads
are those of the published sizes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.class_names import name_classes
from cortex.generators.llamagen import TOKENIZER
from cortex.generators.llamagen.sizes import hidden_units
from cortex.generators.network.architecture import describe, known_of
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.prior_sizes import MaskedSize
from cortex.generators.network.source import Part, Source, first_match, shapes_of
from cortex.generators.network.vqgan_files import Shapes
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec

if TYPE_CHECKING:
    from cortex.generators.halton.networks import HaltonTransformer

TOKENIZERS = ("vq_ds16_c2i.pt", "vq*.pt", "vq*.safetensors")
PRIORS = ("ImageNet_*.pth",)
DROPPED = (r"head\.weight",)  # the embeddings of the codes once more
STEPS = 32
# Heads, and the guidance of the README's table, by (width, layers); its CFG w is a strength of 1 + w.
SIZES = {(384, 6): (6, 2.5), (512, 12): (6, 2.0), (768, 12): (12, 1.7), (1024, 24): (16, 1.5)}


class Halton(NetworkFamily):
    """The family."""

    name = "halton"
    masked = True
    telltale = (frozenset({"cls_emb.weight", "reg_tokens.weight", "last_norm.norm_final.weight"}),)
    borrowed = TOKENIZER

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        from cortex.generators.llamagen.files import tokenizer_of

        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: the prior's tensors tell it")
        path, tokenizer_path = first_match(folder, PRIORS), first_match(folder, TOKENIZERS)
        prior = _prior_of_shapes(shapes_of(path), path)
        vqgan, part = tokenizer_of(tokenizer_path, shapes_of(tokenizer_path), prior["side"])
        names = name_classes(class_names, prior["classes"], folder)
        architecture = describe(self.name, vqgan, prior, names, null_class=prior["classes"])
        return Source(architecture, (Part(path, lambda name: f"transformer.{name}", DROPPED), part))

    def build_prior(self, prior: dict[str, Any]) -> HaltonTransformer:
        from cortex.generators.halton.networks import HaltonTransformer

        return HaltonTransformer(**prior)

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        return known_of(prior, spec)

    def prior_size(self, prior: dict[str, Any]) -> MaskedSize:
        width, inner, logits = prior["width"], prior["inner"], prior["codes"] + 1
        return MaskedSize(
            prior["layers"],
            inner,
            products=4 * width * inner + 3 * width * hidden_units(width),
            outputs=width * logits,
            logits=logits,
            more=prior["registers"],
            once=(6 * prior["layers"] + 2) * width**2,
        )

    def published(self, prior: dict[str, Any]) -> Sampling:
        _, guidance = SIZES.get((prior["width"], prior["layers"]), (0, 1.5))
        return Sampling(top_k=None, top_p=None, guidance=guidance, steps=STEPS)


def _prior_of_shapes(shapes: Shapes, path: Path) -> dict[str, Any]:
    try:
        (words, width), (classes, _) = shapes["tok_emb.weight"], shapes["cls_emb.weight"]
        (positions, _), (registers, _) = shapes["pos_emb.weight"], shapes["reg_tokens.weight"]
        inner, _ = shapes["transformer.layers.0.attn.wq.weight"]
        side = math.isqrt(positions)
        if side * side != positions or not side:
            raise ValueError(f"{positions} tokens make no square")
    except (LookupError, ValueError) as error:
        raise InputError(f"{path}: not a prior of Halton-MaskGIT: {error}") from None
    layers = sum(bool(re.fullmatch(r"transformer\.layers\.\d+\.attn\.wq\.weight", name)) for name in shapes)
    if (width, layers) not in SIZES:
        known = ", ".join(f"{width} × {layers}" for width, layers in SIZES)
        raise InputError(f"{path}: a prior of width {width} and {layers} layers: no published size; allowed: {known}")
    return {
        "layers": layers,
        "heads": SIZES[width, layers][0],
        "width": width,
        "inner": inner,
        "registers": registers,
        "side": side,
        "codes": words - 1,  # and the mask
        "classes": classes - 1,  # and the null class
    }


FAMILY: Family = Halton()

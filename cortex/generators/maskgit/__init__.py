"""MaskGIT in PyTorch, class-conditional: taming's VQGAN, and a transformer that fills in masks (Besnier, Chen, 2023).

A folder holds the tokenizer (``VQGAN/last.ckpt``) and, if it is to sample, one of ``MaskGIT/MaskGIT_ImageNet_*.pth``.
Shapes tell sizes and the grid; the heads are those of the one published size.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.class_names import name_classes, read_class_names
from cortex.generators.network.architecture import describe, known_of
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.prior_sizes import MaskedSize
from cortex.generators.network.source import Part, Source, first_match, shapes_of
from cortex.generators.network.vqgan_files import Shapes, vqgan_of_shapes
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec
from cortex.generators.taming import TOKENIZER

if TYPE_CHECKING:
    from cortex.generators.maskgit.networks import MaskTransformer

TOKENIZERS = ("VQGAN/ckpts/last.ckpt", "VQGAN/last.ckpt", "last.ckpt")
PRIORS = ("MaskGIT/MaskGIT_ImageNet_*.pth", "MaskGIT_ImageNet_*.pth")
DROPPED = (r"loss\..*",)  # of the tokenizer's training: discriminator and perceptual loss
HEADS = {(768, 24): 16}  # by (width, layers)
SIDE = 16  # of the grids of a tokenizer alone
# Steps, temperature of the choice, guidance, by the side of a grid: README.md of the branch v1.0. Its w = 3 and 2.8 are
# strengths of 4 and 3.8 at the last step.
PUBLISHED = {16: (8, 4.5, 4.0), 32: (15, 7.0, 3.8)}


class MaskGit(NetworkFamily):
    """The family."""

    name = "maskgit_pytorch"
    masked = True
    telltale = (frozenset({"tok_emb.weight", "first_layer.2.weight", "transformer.layers.0.0.fn.mha.in_proj_weight"}),)
    borrowed = TOKENIZER

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: the prior's tensors tell it")
        path = first_match(folder, TOKENIZERS)
        shapes = shapes_of(path)
        part = Part(path, lambda name: f"first_stage_model.{name}", DROPPED)
        prior_path = first_match(folder, PRIORS) if any(any(folder.glob(pattern)) for pattern in PRIORS) else None
        if prior_path is None:
            names = [] if class_names is None else read_class_names(class_names)
            return Source(describe(self.name, _vqgan(shapes, SIDE, path), None, names), (part,))
        prior = _prior_of_shapes(shapes_of(prior_path), shapes, prior_path)
        names = name_classes(class_names, prior["classes"], folder)
        vqgan = _vqgan(shapes, prior["side"], path)
        architecture = describe(self.name, vqgan, prior, names, null_class=prior["classes"])
        return Source(architecture, (Part(prior_path, lambda name: f"transformer.{name}"), part))

    def build_prior(self, prior: dict[str, Any]) -> MaskTransformer:
        from cortex.generators.maskgit.networks import MaskTransformer

        return MaskTransformer(**prior)

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        return known_of(prior, spec)

    def prior_size(self, prior: dict[str, Any]) -> MaskedSize:
        width, logits = prior["width"], prior["codes"] + 1
        return MaskedSize(
            prior["layers"],
            width,
            products=4 * width**2 + 2 * width * prior["hidden"],
            outputs=width**2 + width * logits,
            logits=logits,
            more=1,  # the class
            entry=2 * width**2,
        )

    def published(self, prior: dict[str, Any]) -> Sampling:
        steps, noise, guidance = PUBLISHED.get(prior["side"], PUBLISHED[SIDE])
        return Sampling(
            top_k=None,
            top_p=None,
            guidance=guidance,
            guidance_schedule="linear",
            steps=steps,
            choice_temperature=noise,
        )


def _vqgan(shapes: Shapes, side: int, path: Path) -> dict[str, Any]:
    try:
        return vqgan_of_shapes(shapes, side)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _prior_of_shapes(shapes: Shapes, tokenizer: Shapes, path: Path) -> dict[str, Any]:
    """Arguments of the prior's network; its table of embeddings also holds a mask, the classes and the null class."""
    try:
        (words, width), places = shapes["tok_emb.weight"], shapes["pos_emb"][1]
        codes, side = tokenizer["quantize.embedding.weight"][0], math.isqrt(max(places - 1, 0))
        if side * side != places - 1 or not side:
            raise ValueError(f"{places - 1} tokens make no square")
        hidden = shapes["transformer.layers.0.1.fn.net.0.weight"][0]
    except (LookupError, ValueError) as error:
        raise InputError(f"{path}: not a prior of MaskGIT-pytorch: {error}") from None
    layers = sum(bool(re.fullmatch(r"transformer\.layers\.\d+\.0\.fn\.mha\.in_proj_weight", name)) for name in shapes)
    if (width, layers) not in HEADS:
        known = ", ".join(f"{width} × {layers}" for width, layers in HEADS)
        raise InputError(f"{path}: a prior of width {width} and {layers} layers: no published size; allowed: {known}")
    return {
        "layers": layers,
        "heads": HEADS[width, layers],
        "width": width,
        "hidden": hidden,
        "side": side,
        "codes": codes,
        "classes": words - codes - 2,
    }


FAMILY: Family = MaskGit()

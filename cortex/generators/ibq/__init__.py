"""IBQ, class-conditional: taming's VQGAN with more blocks, and LlamaGen's transformer with adaptive norms (2024).

One file holds both (``AR_256_B.ckpt``), or the tokenizer alone (``imagenet256_16384.ckpt``). Shapes tell sizes; a grid
has 16 rows and columns. An image's vector is assigned the code of the largest inner product, not the nearest.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.class_names import name_classes, read_class_names
from cortex.generators.ibq.sizes import SIZES
from cortex.generators.llamagen import rotating
from cortex.generators.llamagen.sizes import hidden_units
from cortex.generators.network.architecture import describe
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.prior_sizes import PriorSize
from cortex.generators.network.source import Part, Source, first_match, shapes_of
from cortex.generators.network.vqgan_files import Shapes, vqgan_of_shapes
from cortex.generators.sampling import Sampling
from cortex.generators.spec import GeneratorSpec

if TYPE_CHECKING:
    from cortex.generators.ibq.networks import IbqTransformer

FILES = ("AR_*.ckpt", "imagenet256_*.ckpt", "IBQ_*.ckpt")
SIDE = 16
TOKENIZER, PRIOR, AVERAGES = "first_stage_model.", "transformer.", "model_ema."
# Of training only: discriminator and perceptual loss, and how averages are kept.
DROPPED = (r"(first_stage_model\.)?loss\..*", r"model_ema\.(loss.*|decay|num_updates)")


class Ibq(NetworkFamily):
    """The family."""

    name = "ibq"
    telltale = (
        frozenset({"transformer.class_emb.embedding_table.weight", "transformer.blocks.0.attention.wqkv.weight"}),
        frozenset({"quantize.embedding.weight", "model_ema.decay"}),
    )

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: it is {SIDE} × {SIDE}")
        path = first_match(folder, FILES)
        shapes = shapes_of(path)
        part = _part(path, shapes)
        ours = {part.rename(name): shape for name, shape in shapes.items() if not part.drops(name)}
        tokenizer = {name.removeprefix(TOKENIZER): shape for name, shape in ours.items() if name.startswith(TOKENIZER)}
        try:
            vqgan = vqgan_of_shapes(tokenizer, SIDE) | {"assign": "product"}
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if not any(name.startswith(PRIOR) for name in ours):
            names = [] if class_names is None else read_class_names(class_names)
            return Source(describe(self.name, vqgan, None, names), (part,))
        prior = _prior_of_shapes(ours, path)
        names = name_classes(class_names, prior["classes"], path)
        return Source(describe(self.name, vqgan, prior, names, null_class=prior["classes"]), (part,))

    def build_prior(self, prior: dict[str, Any]) -> IbqTransformer:
        from cortex.generators.ibq.networks import IbqTransformer

        return IbqTransformer(**prior)

    def known(self, prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
        return rotating(prior, spec)

    def prior_size(self, prior: dict[str, Any]) -> PriorSize:
        width = prior["width"]
        products = (4 + 6) * width**2 + 3 * width * hidden_units(width)  # and the adaptive norms'
        return PriorSize(prior["layers"], width, products, outputs=prior["codes"] + 2 * width)

    def published(self, prior: dict[str, Any]) -> Sampling:
        size = SIZES.get((prior["width"], prior["layers"]))
        if size is None:
            return Sampling(top_k=None, top_p=None)
        return Sampling(temperature=size.temperature, top_k=None, top_p=None, guidance=size.guidance)


def _part(path: Path, shapes: Shapes) -> Part:
    """A file's renames and drops. Of a tokenizer that has averaged weights, those are taken, as its authors do.

    Their names have no dots: ``model_ema.encoderconv_inweight`` is the average of ``encoder.conv_in.weight``.
    """
    if any(name.startswith(TOKENIZER) for name in shapes):
        return Part(path, dropped=DROPPED)
    dotted = {AVERAGES + name.replace(".", ""): name for name in shapes if not name.startswith(AVERAGES)}
    averaged = [name for average, name in dotted.items() if average in shapes]
    return Part(
        path, lambda name: TOKENIZER + dotted.get(name, name), (*DROPPED, *(re.escape(name) for name in averaged))
    )


def _prior_of_shapes(shapes: Shapes, path: Path) -> dict[str, Any]:
    try:
        classes, _ = shapes[f"{PRIOR}class_emb.embedding_table.weight"]
        codes, width = shapes[f"{PRIOR}head.weight"]
    except (LookupError, ValueError) as error:
        raise InputError(f"{path}: not a prior of IBQ: {error}") from None
    layers = sum(bool(re.fullmatch(r"transformer\.blocks\.\d+\.attention\.wqkv\.weight", name)) for name in shapes)
    if (width, layers) not in SIZES:
        known = ", ".join(f"{size.name} ({width} × {layers})" for (width, layers), size in SIZES.items())
        raise InputError(f"{path}: a prior of width {width} and {layers} layers: no published size; allowed: {known}")
    heads = SIZES[width, layers].heads
    return {"layers": layers, "heads": heads, "width": width, "side": SIDE, "codes": codes, "classes": classes - 1}


FAMILY: Family = Ibq()

"""DALL·E mini's tokenizer, decode only: ``detoker.pt`` of min-dalle, for grids that were drawn elsewhere.

Its pixels are in 0..1. It was trained further from CompVis's ``vqgan_imagenet_f16_16384``, and DALL·E mini's authors
publish it under the same name: grids of one make no sense in the other. CompVis's has an encoder, and is refused here.
"""

from __future__ import annotations

from pathlib import Path

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.class_names import read_class_names
from cortex.generators.network.architecture import describe
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.source import Part, Source, shapes_of
from cortex.generators.network.vqgan_files import vqgan_of_shapes

FILE = "detoker.pt"
SIDE = 16  # of the grids of 256 tokens that DALL·E mini draws
CODEBOOK = "embedding.weight"  # in the file, beside decoder.* and post_quant_conv.* by taming's names


class DalleMini(NetworkFamily):
    """The family. It has no prior: DALL·E mini's reads text."""

    name = "dalle_mini"
    telltale = (frozenset({CODEBOOK, "post_quant_conv.weight", "decoder.conv_in.weight"}),)

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: it is {SIDE} × {SIDE}")
        path = folder / FILE
        if not path.is_file():
            raise InputError(
                f"{folder}: {FILE} is not there; CompVis's VQGAN of the name vqgan_imagenet_f16_16384 is another one"
            )
        shapes = shapes_of(path)
        if any(name.startswith("encoder.") for name in shapes):
            raise InputError(f"{path}: it has an encoder, and so is not min-dalle's; is it CompVis's VQGAN?")
        names = [] if class_names is None else read_class_names(class_names)
        try:
            vqgan = vqgan_of_shapes({_taming_name(name): shape for name, shape in shapes.items()}, SIDE, encodes=False)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        part = Part(path, rename=lambda name: f"first_stage_model.{_taming_name(name)}")
        return Source(describe(self.name, vqgan, None, names, pixels=(0, 1)), (part,))


def _taming_name(name: str) -> str:
    return f"quantize.{CODEBOOK}" if name == CODEBOOK else name


FAMILY: Family = DalleMini()

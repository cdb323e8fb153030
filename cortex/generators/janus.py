"""The tokenizer of Janus and Janus-Pro, without their language model, for grids that were drawn elsewhere.

It is LlamaGen's network with weights of its own, and stands in the model's files beside all others: a folder holds
``model.safetensors``, ``pytorch_model.bin``, or such a file in several parts.
"""

from __future__ import annotations

import re
from pathlib import Path

from cortex.core.errors import InputError
from cortex.generators.base import Family
from cortex.generators.class_names import read_class_names
from cortex.generators.network.architecture import describe
from cortex.generators.network.family import NetworkFamily
from cortex.generators.network.source import Source

SIDE = 24  # of the grids of 576 tokens that Janus draws
PREFIX = "gen_vision_model."
FILES = ("model*.safetensors", "pytorch_model*.bin")  # of several that match, the first pattern counts
OTHERS = rf"(?!{re.escape(PREFIX)}).*"  # the language model, and what understands images


class Janus(NetworkFamily):
    """The family. It has no prior: that of Janus reads text."""

    name = "janus"
    telltale = (frozenset({f"{PREFIX}quantize.embedding.weight", f"{PREFIX}decoder.conv_blocks.0.res.0.norm1.weight"}),)

    def source(self, folder: Path, class_names: Path | None, grid: tuple[int, int] | None) -> Source:
        from cortex.generators.llamagen.files import tokenizer_of_parts

        if grid is not None:
            raise InputError(f"grid {list(grid)}: should not be set: it is {SIDE} × {SIDE}")
        paths = next((found for pattern in FILES if (found := sorted(folder.glob(pattern)))), [])
        if not paths:
            raise InputError(f"{folder}: none of {', '.join(FILES)} is there")
        vqgan, parts = tokenizer_of_parts(paths, SIDE, prefix=PREFIX, others=(OTHERS,))
        names = [] if class_names is None else read_class_names(class_names)
        return Source(describe(self.name, vqgan, None, names), parts)


FAMILY: Family = Janus()

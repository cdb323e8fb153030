"""The arguments of a VQGAN, told from the shapes of its weights: many authors publish no description beside them."""

import re
from collections.abc import Mapping
from typing import Any

from cortex.core.errors import InputError

Shapes = Mapping[str, tuple[int, ...]]


def vqgan_of_shapes(shapes: Shapes, side: int, *, encodes: bool = True) -> dict[str, Any]:
    """Keyword arguments of :class:`~cortex.generators.network.vqgan.VQGAN`, of the shapes by taming's names.

    The decoder alone is read: a VQGAN's encoder mirrors it.

    Args:
        shapes: of weights, named as in a VQGAN.
        side: rows and columns of a token grid, which no weight tells.
        encodes: whether the encoder is there, too.

    Raises:
        InputError: a weight that tells the arguments is missing.
    """
    try:
        levels = _count(shapes, r"decoder\.up\.(\d+)\.block\.0\.conv1\.weight")
        widths = [shapes[f"decoder.up.{level}.block.0.conv1.weight"][0] for level in range(levels)]
        resolution = side << (levels - 1)
        codes, channels = shapes["quantize.embedding.weight"]
        return {
            "n_embed": codes,
            "embed_dim": channels,
            "encodes": encodes,
            "ddconfig": {
                "ch": widths[0],
                "out_ch": 3,
                "ch_mult": [width // widths[0] for width in widths],
                "num_res_blocks": _count(shapes, r"decoder\.up\.0\.block\.(\d+)\.conv1\.weight") - 1,
                "attn_resolutions": [
                    resolution >> level for level in range(levels) if f"decoder.up.{level}.attn.0.q.weight" in shapes
                ],
                "in_channels": 3,
                "resolution": resolution,
                "z_channels": shapes["decoder.conv_in.weight"][1],
                "double_z": False,
            },
        }
    except (LookupError, ValueError) as error:
        raise InputError(f"not the weights of a VQGAN: {error}") from None


def _count(shapes: Shapes, pattern: str) -> int:
    """How many numbers, from 0 on, some names have at a place."""
    found = {int(match[1]) for name in shapes if (match := re.fullmatch(pattern, name))}
    if found != set(range(len(found))) or not found:
        raise ValueError(f"no names {pattern}, numbered from 0")
    return len(found)

"""The architecture of a generator in its weights file's metadata, without torch.

Format 2: ``{"format": 2, "family": name, "tokenizer": {...}, "prior": {...} or None, "classes": [names], "null_class":
index or None}``. The tokenizer of most families is a :class:`~cortex.generators.network.vqgan.VQGAN`: its keyword
arguments, and the range of its pixels, as in ``"pixels": [-1, 1]``. Arguments of the prior's network are the family's.
Without a prior the generator decodes, and perhaps encodes, but cannot sample. The null class is the index that stood in
a class's place where the prior learned without class.

Format 1 had ``vqgan`` and ``transformer``: keyword arguments of a VQGAN of pixels in −1..1, and of taming's ``GPT``.
"""

import json
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError, reason_of
from cortex.generators.spec import MAX_CODES, GeneratorSpec

FORMAT = 2
PIXELS = (-1.0, 1.0)  # of taming's tokenizers


def describe(
    family: str,
    vqgan: dict[str, Any],
    prior: dict[str, Any] | None,
    class_names: list[str],
    *,
    null_class: int | None = None,
    pixels: tuple[float, float] = PIXELS,
) -> dict[str, Any]:
    """The architecture of a generator of a family whose tokenizer is a VQGAN.

    Args:
        family: registered name.
        vqgan: keyword arguments of :class:`~cortex.generators.network.vqgan.VQGAN`.
        prior: arguments of the prior's network; None: there is none.
        class_names: one a class.
        null_class: index of no class; None: there is none.
        pixels: what the decoder calls black and white.
    """
    return {
        "format": FORMAT,
        "family": family,
        "tokenizer": {**vqgan, "pixels": list(pixels)},
        "prior": prior,
        "classes": class_names,
        "null_class": null_class,
    }


def stated_architecture(metadata: dict[str, str] | None, path: Path, family: str) -> dict[str, Any]:
    """The architecture that a weights file's metadata states, in format 2.

    Raises:
        InputError: the file is no generator's, of another family, or of a later release.
    """
    if not metadata or "architecture" not in metadata:
        raise InputError(f"{path}: not a generator's weights: its metadata has no 'architecture'")
    try:
        stated: dict[str, Any] = json.loads(metadata["architecture"])
        if stated.get("format", 1) == 1:
            stated = describe(
                "taming", stated["vqgan"], stated["transformer"], stated["classes"], null_class=stated.get("null_class")
            )
        found, of_family = stated["format"], stated["family"]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a generator's weights: its 'architecture' is wrong: {reason_of(repr(error))}"
        ) from None
    if found != FORMAT:
        raise InputError(f"{path}: its architecture has format {found!r}; allowed: 1 and {FORMAT}")
    if of_family != family:
        raise InputError(f"{path}: weights of the family {of_family!r}, not of {family!r}: name that family")
    return stated


def known_of(prior: dict[str, Any], spec: GeneratorSpec) -> tuple[int, int]:
    """Codes and indices of classes, the null class among them, that a prior knows; a ValueError if it does not fit.

    ``prior`` states ``side``, ``codes`` and ``classes``; ``spec`` is that of the tokenizer.
    """
    if (prior["side"], prior["side"]) != spec.grid or prior["codes"] != spec.codes:
        raise ValueError(
            f"the prior has {prior['codes']} codes in a grid of {prior['side']} × {prior['side']}, "
            f"the tokenizer {spec.codes} in {spec.grid[0]} × {spec.grid[1]}"
        )
    return prior["codes"], prior["classes"] + 1


def vqgan_shapes(tokenizer: dict[str, Any]) -> dict[str, Any]:
    """What a VQGAN's arguments state of a generator's spec; ValueError, TypeError or the like if they are none."""
    resolution, levels = tokenizer["ddconfig"]["resolution"], len(tokenizer["ddconfig"]["ch_mult"])
    side, (black, white) = resolution // 2 ** (levels - 1), map(float, tokenizer["pixels"])
    if not all(type(count) is int and count > 0 for count in (side, tokenizer["n_embed"], tokenizer["embed_dim"])):
        raise ValueError("resolution, n_embed and embed_dim are whole numbers from 1 on")
    if tokenizer["n_embed"] > MAX_CODES:
        raise ValueError(f"{tokenizer['n_embed']:,} codes: allowed: {MAX_CODES:,}, as grids are stored in 16 bits")
    if not black < white:
        raise ValueError("pixels are black and white, of which white is the larger")
    return {
        "grid": (side, side),
        "codes": tokenizer["n_embed"],
        "channels": tokenizer["embed_dim"],
        "image": (resolution, resolution),
        "pixels": (black, white),
        "encodes": tokenizer.get("encodes", True) is True,
    }

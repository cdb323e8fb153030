"""VAR's published files: what their tensors' shapes tell."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError
from cortex.generators.class_names import name_classes, read_class_names
from cortex.generators.network.architecture import describe
from cortex.generators.network.source import Part, Source, first_match, shapes_of
from cortex.generators.network.vqgan_files import Shapes, vqgan_of_shapes

TOKENIZERS = ("vae_*.pth", "vae_*.safetensors")
PRIORS = ("var_d*.pth", "var_d*.safetensors")
# Counts of codes in training; scales of positions and the mask of training, which are computed; biases that are 0.
DROPPED = (r"quantize\.ema_vocab_hit_SV", r"lvl_1L", r"attn_bias_for_masking", r"blocks\.\d+\.attn\.zero_k_bias")
SIDES = {  # of the scales, by the number of positions: images of 256 and of 512 pixels
    680: (1, 2, 3, 4, 5, 6, 8, 10, 13, 16),
    2240: (1, 2, 3, 4, 6, 9, 13, 18, 24, 32),
}


def source_of(family: str, folder: Path, class_names: Path | None) -> Source:
    """What a folder holds: a tokenizer, and a prior or none.

    Raises:
        InputError: files are missing, or are none of VAR's.
    """
    path = first_match(folder, TOKENIZERS)
    shapes, part = shapes_of(path), Part(path, _tokenizers_name, DROPPED, divided=divided)
    if not any(any(folder.glob(pattern)) for pattern in PRIORS):
        names = [] if class_names is None else read_class_names(class_names)
        return Source(describe(family, tokenizer_of_shapes(shapes, SIDES[680], path), None, names), (part,))
    prior_path = first_match(folder, PRIORS)
    prior = prior_of_shapes(shapes_of(prior_path), prior_path)
    names = name_classes(class_names, prior["classes"], folder)
    tokenizer = tokenizer_of_shapes(shapes, prior["sides"], path)
    architecture = describe(family, tokenizer, prior, names, null_class=prior["classes"])
    return Source(architecture, (Part(prior_path, lambda name: f"transformer.{name}", DROPPED), part))


def _tokenizers_name(name: str) -> str:
    return f"first_stage_model.{name}"


def divided(name: str) -> tuple[str, ...]:
    """taming's names: it has queries, keys and values apart."""
    kept, found, last = name.rpartition(".qkv.")
    return tuple(f"{kept}.{part}.{last}" for part in "qkv") if found else (name,)


def tokenizer_of_shapes(shapes: Shapes, sides: Sequence[int], path: Path) -> dict[str, Any]:
    """Arguments of :class:`~cortex.generators.var.tokenizer.ScaleVQGAN`, of images of so many scales.

    Raises:
        InputError: a weight that tells them is missing.
    """
    apart = {part: shape for name, shape in shapes.items() for part in divided(name)}
    try:
        return {"sides": list(sides), **vqgan_of_shapes(apart, sides[-1])}
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def prior_of_shapes(shapes: Shapes, path: Path) -> dict[str, Any]:
    """Arguments of the prior's network.

    Raises:
        InputError: a weight that tells them is missing, or no published scales have so many positions.
    """
    try:
        (codes, width), (known, _), (_, channels) = (
            shapes[f"{name}.weight"] for name in ("head", "class_emb", "word_embed")
        )
        positions, heads = shapes["pos_1LC"][1], shapes["blocks.0.attn.scale_mul_1H11"][1]
        hidden = shapes["blocks.0.ffn.fc1.weight"][0]
    except (LookupError, ValueError) as error:
        raise InputError(f"{path}: not a prior of VAR: {error}") from None
    if positions not in SIDES:
        raise InputError(f"{path}: {positions} positions, whose scales no weight tells; allowed: {list(SIDES)}")
    return {
        "layers": sum(bool(re.fullmatch(r"blocks\.\d+\.attn\.mat_qkv\.weight", name)) for name in shapes),
        "heads": heads,
        "width": width,
        "hidden": hidden,
        "sides": list(SIDES[positions]),
        "codes": codes,
        "channels": channels,
        "classes": known - 1,  # the last one is the null class
        "shared": "shared_ada_lin.1.weight" in shapes,
    }

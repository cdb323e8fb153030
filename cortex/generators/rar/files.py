"""RAR's published files: what their tensors' shapes tell."""

import math
import re
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError
from cortex.generators.class_names import name_classes, read_class_names
from cortex.generators.network.architecture import describe
from cortex.generators.network.source import Part, Source, first_match, shapes_of
from cortex.generators.network.vqgan_files import Shapes, vqgan_of_shapes
from cortex.generators.rar.networks import PLACES

TOKENIZERS = ("maskgit-vqgan*.bin", "maskgit-vqgan*.safetensors")
PRIORS = ("rar_*.bin", "rar_*.safetensors")
PIXELS = (0.0, 1.0)


def source_of(family: str, folder: Path, class_names: Path | None, side: int) -> Source:
    """What a folder holds: the tokenizer, and a prior or none.

    Raises:
        InputError: files are missing, or are none of RAR's.
    """
    path = first_match(folder, TOKENIZERS)
    try:
        tokenizer = tokenizer_of_shapes(shapes_of(path), side)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    part = Part(path, lambda name: f"first_stage_model.{name}")
    if not any(any(folder.glob(pattern)) for pattern in PRIORS):
        names = [] if class_names is None else read_class_names(class_names)
        return Source(describe(family, tokenizer, None, names, pixels=PIXELS), (part,))
    prior_path = first_match(folder, PRIORS)
    prior = prior_of_shapes(shapes_of(prior_path), prior_path)
    names = name_classes(class_names, prior["classes"], folder)
    architecture = describe(family, tokenizer, prior, names, null_class=prior["classes"], pixels=PIXELS)
    return Source(architecture, (Part(prior_path, lambda name: f"transformer.{name}"), part))


def tokenizer_of_shapes(shapes: Shapes, side: int) -> dict[str, Any]:
    """Arguments of :class:`~cortex.generators.rar.tokenizer.MaskgitVQGAN`.

    Raises:
        InputError: a weight that tells them is missing.
    """
    found = vqgan_of_shapes(shapes, side)
    taming = found["ddconfig"]
    kept = {name: taming[name] for name in ("ch", "ch_mult", "resolution", "z_channels")}
    # Of taming's decoder, which has one block a level more than its encoder.
    return {
        "n_embed": found["n_embed"],
        "embed_dim": found["embed_dim"],
        "ddconfig": kept | {"num_res_blocks": taming["num_res_blocks"] + 1},
    }


def prior_of_shapes(shapes: Shapes, path: Path) -> dict[str, Any]:
    """Arguments of the prior's network.

    Raises:
        InputError: a weight that tells them is missing, or the tokens make no square.
    """
    try:
        (codes, width), (known, _) = shapes["lm_head.weight"], shapes["embeddings.weight"]
        tokens = shapes["pos_embed"][1] - PLACES
        side = math.isqrt(max(tokens, 0))
        if side * side != tokens or not tokens:
            raise ValueError(f"{tokens} tokens make no square")
        return {
            "layers": sum(bool(re.fullmatch(r"blocks\.\d+\.attn\.qkv\.weight", name)) for name in shapes),
            "heads": width // shapes["blocks.0.attn.q_norm.weight"][0],
            "width": width,
            "hidden": shapes["blocks.0.mlp.fc1.weight"][0],
            "side": side,
            "codes": codes,
            "classes": known - codes - 2,  # a mask stands before them, the null class after them
        }
    except (LookupError, ValueError, ArithmeticError) as error:
        raise InputError(f"{path}: not a prior of RAR: {error}") from None

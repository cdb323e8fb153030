"""Published files of generators at any size: layouts as the authors', with stand-ins for weights that nobody reads."""

import re

import torch

from cortex.generators.network.build import empty_networks
from tests.checkpoints import Hostile

TAMING_F16 = {  # the tokenizer of most generators of 256 × 256 pixels
    "ch": 128,
    "out_ch": 3,
    "ch_mult": [1, 1, 2, 2, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [16],
    "in_channels": 3,
    "resolution": 256,
    "z_channels": 256,
    "double_z": False,
}
TINY_DDCONFIG = TAMING_F16 | {
    "ch": 32,
    "ch_mult": [1, 2, 2],
    "attn_resolutions": [4],
    "resolution": 16,
    "z_channels": 32,
}


def shapes_by_name(family, architecture):
    """Shapes of a generator's weights by our names, without weights."""
    return {name: tuple(weight.shape) for name, weight in empty_networks(family, architecture).state_dict().items()}


def stand_in(shapes):
    """Tensors of these shapes that take one number each in a file."""
    return {name: torch.zeros(1).expand(shape) for name, shape in shapes.items()}


def foreign(command="exit 1"):
    """What trainers save beside weights, and what would run if it were unpickled."""
    return {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(7, 2)}}, "param_groups": [{"lr": 1e-4}]},
        "steps": 1_500_000,
        "args": Hostile(command),
    }


def detoker(tokenizer):
    """min-dalle's file of a VQGAN's weights by taming's names."""
    kept = {name: weight for name, weight in tokenizer.items() if not re.match(r"(encoder|quant_conv)\.", name)}
    kept["embedding.weight"] = kept.pop("quantize.embedding.weight")
    return kept


def llamagen_tokenizer(tokenizer):
    """LlamaGen's file of a VQGAN's weights by taming's names: levels of the decoder from the lowest resolution on."""
    levels = 1 + max(int(name.split(".")[2]) for name in tokenizer if name.startswith("decoder.up."))
    found = {}
    for name, weight in tokenizer.items():
        parts = name.split(".")
        if parts[:2] in (["encoder", "mid"], ["decoder", "mid"]):
            parts[2] = {"block_1": "0", "attn_1": "1", "block_2": "2"}[parts[2]]
        elif parts[1] in ("down", "up"):
            level = int(parts[2])
            parts[1:3] = ["conv_blocks", str(level if parts[1] == "down" else levels - 1 - level)]
            parts[3] = "res" if parts[3] == "block" else parts[3]
        found[".".join(parts)] = weight
    return found | {"quantize.codebook_used": torch.zeros(65536)}

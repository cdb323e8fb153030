"""The networks of a generator, as their architecture describes them: shapes and names, without weights."""

from typing import Any

import torch
from taming.modules.transformer.mingpt import GPT
from torch import nn

from cortex.generate.vqgan import VQGAN

CONSTANT = "attn.mask"  # the causal mask, a buffer that taming's constructor builds


def empty_networks(architecture: dict[str, Any]) -> nn.ModuleDict:
    """The VQGAN, and the GPT if there is one, on torch's meta device: no memory is spent on weights, nor time.

    Args:
        architecture: ``{"vqgan": ..., "transformer": ...}``, keyword arguments of
            :class:`~cortex.generate.vqgan.VQGAN` and of taming-transformers' ``GPT`` (None: a VQGAN alone).

    Returns:
        ``first_stage_model`` and ``transformer``, named as in taming-transformers' checkpoints.
    """
    with torch.device("meta"):
        networks = nn.ModuleDict({"first_stage_model": VQGAN(**architecture["vqgan"])})
        if architecture["transformer"] is not None:
            networks["transformer"] = GPT(**architecture["transformer"])
    return networks

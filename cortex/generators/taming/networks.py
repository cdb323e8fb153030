"""The networks of a generator, as their architecture describes them: shapes and names, without weights."""

from typing import Any

import torch
from taming.modules.transformer.mingpt import GPT
from torch import nn
from torch.overrides import TorchFunctionMode

from cortex.generators.taming.vqgan import VQGAN

FILLING = {"tril", "normal_", "uniform_", "kaiming_uniform_", "fill_", "zero_"}
CONSTANT = "attn.mask"  # the causal mask, a buffer that taming's constructor builds


def empty_networks(architecture: dict[str, Any]) -> nn.ModuleDict:
    """The VQGAN, and the GPT if there is one, on torch's meta device: no memory is spent on weights, nor time.

    Args:
        architecture: ``{"vqgan": ..., "transformer": ...}``, keyword arguments of
            :class:`~cortex.generators.taming.vqgan.VQGAN` and of taming-transformers' ``GPT`` (None: a VQGAN alone).

    Returns:
        ``first_stage_model`` and ``transformer``, named as in taming-transformers' checkpoints.
    """
    with torch.device("meta"), _WithoutValues():
        networks = nn.ModuleDict({"first_stage_model": VQGAN(**architecture["vqgan"])})
        if architecture["transformer"] is not None:
            networks["transformer"] = GPT(**architecture["transformer"])
    return networks


class _WithoutValues(TorchFunctionMode):
    """Leaves out what only fills tensors: without values it does nothing, but loads torch's compiler, for a second."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in FILLING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))

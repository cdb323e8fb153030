"""The networks of a generator, as their architecture describes them: shapes and names, without weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from cortex.generators.network.described import Described

FILLING = {"tril", "normal_", "uniform_", "kaiming_uniform_", "fill_", "zero_"}


def empty_networks(family: Described, architecture: dict[str, Any]) -> nn.ModuleDict:
    """The tokenizer, and the prior if there is one, on torch's meta device: no memory is spent on weights, nor time.

    Returns:
        ``first_stage_model`` and ``transformer``, named as in taming-transformers' checkpoints.
    """
    with torch.device("meta"), _WithoutValues():
        networks = nn.ModuleDict({"first_stage_model": family.build_tokenizer(architecture["tokenizer"])})
        if architecture["prior"] is not None:
            prior: Any = family.build_prior(architecture["prior"])
            networks["transformer"] = prior
            family.connect(prior, networks["first_stage_model"])
    return networks


class _WithoutValues(TorchFunctionMode):
    """Leaves out what only fills tensors: without values it does nothing, but loads torch's compiler, for a second."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in FILLING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))

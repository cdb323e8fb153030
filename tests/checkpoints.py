"""Checkpoints as PyTorch Lightning writes them: what several test files share."""

import sys
import types

import numpy as np
import pytest
import torch

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Hostile:
    """Unpickled, it would run a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def lightning(state, command="exit 1"):
    """What PyTorch Lightning 1.0 saves around a state_dict: objects of modules that are gone when this returns.

    Returns:
        A function that writes it with torch.save.
    """
    parts = ("", ".callbacks", ".callbacks.model_checkpoint", ".utilities", ".utilities.parsing")
    modules = {name: types.ModuleType(name) for name in ("gone", *(f"pytorch_lightning{part}" for part in parts))}

    def foreign(module, name, base=object):
        made = type(name, (base,), {"__module__": module})
        setattr(modules[module], name, made)
        return made

    model_checkpoint = foreign("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    attributes = foreign("pytorch_lightning.utilities.parsing", "AttributeDict", dict)
    config = foreign("gone", "DictConfig")()
    config.__dict__ = {"_content": {"lr": 4.5e-6, "self": config}, "ids": {1, 2}, "frozen": frozenset("ab")}
    content = {
        "epoch": 5,
        "global_step": 1_400_000,
        "pytorch-lightning_version": "1.0.8",
        "hostile": Hostile(command),
        "callbacks": {
            model_checkpoint: {"best_model_score": torch.tensor(4.5), "best": np.float64(4.5), "current": np.int64(7)}
        },
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.ones(7, 2).double()}}, "param_groups": []}],
        "state_dict": state,
        "hyper_parameters": attributes(lr=1e-4, config=config, callback=model_checkpoint()),
    }

    def write(file, zipped=True, **options):
        sys.modules.update(modules)
        try:
            torch.save(content, file, _use_new_zipfile_serialization=zipped, **options)
        finally:
            for name in modules:
                del sys.modules[name]

    return write

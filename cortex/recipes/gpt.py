"""Train a GPT to predict the token grids of a VQGAN from a class (Esser et al., CVPR 2021)."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn

from cortex.data.augment import VARIANTS, jitter, turned
from cortex.data.settings import Augmentation
from cortex.generators.network.vqgan import VQGAN
from cortex.recipes.loop import History, Loop
from cortex.recipes.pictures import pictures_at, place_images
from cortex.recipes.schedule import warm_up_then_cosine
from cortex.recipes.settings import GeneratorRecipe


def gpt_arguments(recipe: GeneratorRecipe, codes: int, positions: int) -> dict[str, Any]:
    """Keyword arguments of taming-transformers' ``GPT``."""
    return {
        "vocab_size": codes,
        "block_size": positions,
        "n_layer": recipe.gpt_layers,
        "n_head": recipe.gpt_heads,
        "n_embd": recipe.gpt_width,
    }


def train_gpt(
    vqgan: VQGAN,
    images: NDArray[Any],
    labels: Tensor,
    held_out: tuple[NDArray[Any], Tensor],
    *,
    classes: int,
    recipe: GeneratorRecipe,
    device: torch.device,
    state: Path,
    identity: dict[str, Any],
) -> tuple[GPT, History]:
    """Train the GPT by next-token cross-entropy.

    The class index stands before the grid as one token of the same vocabulary, as in taming-transformers'
    class-conditional ImageNet model. ``label_dropout`` of the grids have the token ``classes`` there, the null class.

    Args:
        vqgan: in eval mode, on the device.
        images: pictures uint8 ``[N, S, S, 3]``.
        labels: int64 ``[N]``.
        held_out: pictures and labels to measure on.
        classes: number of classes.
        recipe: the network and its training.
        device: where to compute.
        state: file of the training's state.
        identity: what the result depends on.

    Returns:
        The network at its lowest held-out loss, in eval mode, and a row an epoch: stage, epoch, train_loss and
        held_out_loss (nats a token), seconds.
    """
    torch.manual_seed(recipe.seed)
    random = torch.Generator().manual_seed(recipe.seed)
    side = vqgan.grid_shape
    arguments = gpt_arguments(recipe, len(vqgan.codebook), side[0] * side[1])
    dropout = dict.fromkeys(("embd_pdrop", "resid_pdrop", "attn_pdrop"), recipe.dropout)
    model = GPT(**arguments, **dropout).to(device)
    best = Best(model)
    optimizer = _optimizer(model, recipe.gpt_learning_rate)
    steps = recipe.gpt_epochs * max(1, len(images) // recipe.gpt_batch)
    schedule = warm_up_then_cosine(optimizer, steps)
    parts: dict[str, Any] = {"model": model, "optimizer": optimizer, "schedule": schedule, "best": best}
    loop = Loop(
        "gpt", len(images), recipe.gpt_batch, recipe.gpt_epochs, random, parts, state, identity, recipe.save_every
    )
    loop.resume()
    grids = Grids(vqgan, images, recipe.augmentation)
    held_out_grids = encode_all(vqgan, held_out[0])
    forward = torch.compile(model) if recipe.compiled else model
    half = recipe.precision == "bfloat16"
    for rows, last in loop.steps():
        model.train()
        tokens = grids.of(loop.epoch)[rows].long()
        first = labels[rows].clone()
        first[torch.rand(len(first), generator=random) < recipe.label_dropout] = classes
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = next_token_loss(forward, first.to(device), tokens.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        loop.total += loss.item()
        if last:
            loop.end_epoch(held_out_loss=best.consider(held_out_loss(model, held_out[1], held_out_grids)))
    model.load_state_dict(best.weights)
    return model.eval(), loop.history


class Best:
    """The weights of the epoch of lowest held-out loss.

    Args:
        model: the network.
    """

    def __init__(self, model: nn.Module):
        self.model, self.loss = model, math.inf
        self.weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def consider(self, loss: float) -> float:
        """Keep the network's weights if their loss is the lowest so far; the loss."""
        if loss < self.loss:
            self.loss = loss
            self.weights = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {"loss": None if math.isinf(self.loss) else self.loss, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.loss = math.inf if state["loss"] is None else state["loss"]
        self.weights = state["weights"]


class Grids:
    """Token grids of augmented pictures: every variant is encoded once, and each epoch mixes the variants.

    Args:
        vqgan: in eval mode.
        images: pictures uint8 ``[N, S, S, 3]``.
        augmentation: see :func:`~cortex.data.augment.augment`. Jittered pictures are encoded anew every epoch.
    """

    def __init__(self, vqgan: VQGAN, images: NDArray[Any], augmentation: Augmentation):
        self.vqgan, self.images, self.augmentation = vqgan, images, augmentation
        self.kept: dict[int, Tensor] = {}

    def of(self, epoch: int) -> Tensor:
        """Grids int32 ``[N, h, w]`` of an epoch, a function of its number. A picture has another variant next time."""
        variants = VARIANTS.get(self.augmentation)
        at = epoch if variants is None else epoch % variants
        if at not in self.kept:
            if variants is None:
                self.kept.clear()
            self.kept[at] = encode_all(self.vqgan, self.images, self.augmentation, at)
        return self.kept[at]


@torch.no_grad()
def encode_all(
    vqgan: VQGAN, images: NDArray[Any], augmentation: Augmentation = "none", number: int = 0, batch: int = 250
) -> Tensor:
    """Grids int32 ``[N, h, w]`` of pictures uint8 ``[N, S, S, 3]``, each in the variant of a number."""
    device, found = vqgan.codebook.device, []
    for rows in torch.arange(len(images)).split(batch):
        part = pictures_at(images, rows)
        if augmentation == "jitter":
            part = jitter(part, torch.Generator().manual_seed(number * len(images) + int(rows[0])))
        else:
            part = turned(part, (rows + number) % VARIANTS[augmentation])
        found.append(vqgan.encode(place_images(part, device)).to(torch.int32).cpu())
    return torch.cat(found)


def next_token_loss(model: Callable[[Tensor], tuple[Tensor, Tensor | None]], first: Tensor, grids: Tensor) -> Tensor:
    """Mean cross-entropy (nats a token) of grids ``[B, h, w]`` after the first token int64 ``[B]``."""
    tokens = torch.cat([first[:, None], grids.flatten(1)], dim=1)
    logits, _ = model(tokens[:, :-1])
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: GPT, labels: Tensor, grids: Tensor, batch: int = 250) -> float:
    """Mean cross-entropy (nats a token) of grids int ``[N, h, w]``, given their classes."""
    model.eval()
    device = next(model.parameters()).device
    total = 0.0
    for rows in torch.arange(len(grids)).split(batch):
        loss = next_token_loss(model, labels[rows].to(device), grids[rows].long().to(device))
        total += loss.item() * len(rows)
    return total / len(grids)


def _optimizer(model: GPT, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW that decays matrices only."""
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))

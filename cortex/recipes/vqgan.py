"""Train a VQGAN on pictures (Esser et al., CVPR 2021).

Two departures: the perceptual term has the features of EfficientNet-Lite0, whose weights the package index has, and a
rate term, of neural compression, may price rare codes: without it the encoder spreads details of sparse pictures over
the tokens of their empty background, and what a token means would not be where it stands.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from taming.modules.discriminator.model import NLayerDiscriminator, weights_init
from torch import Tensor
from torch.nn import functional as F

from cortex.core.device import place
from cortex.data.augment import augment
from cortex.generators.taming.vqgan import VQGAN
from cortex.recipes.codes import CodeUse, restart_codes
from cortex.recipes.loop import History, Loop
from cortex.recipes.losses import PerceptualDistance, balanced_gradient, code_length
from cortex.recipes.pictures import pictures_at, place_images
from cortex.recipes.schedule import warm_up_then_cosine
from cortex.recipes.settings import GeneratorRecipe


def vqgan_arguments(recipe: GeneratorRecipe) -> dict[str, Any]:
    """Keyword arguments of :class:`~cortex.generators.taming.vqgan.VQGAN`."""
    return {
        "n_embed": recipe.codes,
        "embed_dim": recipe.code_channels,
        "ddconfig": {
            "double_z": False,
            "z_channels": recipe.latent_channels,
            "resolution": recipe.size,
            "in_channels": 3,
            "out_ch": 3,
            "ch": recipe.vqgan_width,
            "ch_mult": recipe.vqgan_multipliers,
            "num_res_blocks": recipe.vqgan_blocks,
            "attn_resolutions": [],
            "dropout": 0.0,
        },
    }


def train_vqgan(
    images: NDArray[Any],
    held_out: NDArray[Any],
    *,
    recipe: GeneratorRecipe,
    device: torch.device,
    state: Path,
    identity: dict[str, Any],
) -> tuple[VQGAN, History]:
    """Train a VQGAN.

    Loss: L1 + perceptual distance + codebook loss + rate + adversarial hinge loss of a patch discriminator. Codes
    that no position chose for half an epoch are restarted at encoder outputs, until the last fifth of the steps.

    Args:
        images: pictures uint8 ``[N, S, S, 3]``, in memory or mapped.
        held_out: likewise, to measure on.
        recipe: the network, its loss and its training.
        device: where to compute.
        state: file of the training's state.
        identity: what the result depends on.

    Returns:
        The network in eval mode and a row an epoch: stage, epoch, train_loss, held_out_l1 (mean absolute error of
        pictures in -1..1), codes_used (distinct codes in the grids of the held-out pictures), seconds.
    """
    torch.manual_seed(recipe.seed)
    step = _Step(recipe, device)
    loop = Loop(
        "vqgan", len(images), recipe.vqgan_batch, recipe.vqgan_epochs, step.random, step.parts, state, identity,
        recipe.save_every,
    )  # fmt: skip
    step.prepare(loop.epochs * loop.steps_per_epoch)
    loop.parts = step.parts
    loop.resume()
    restart_every, all_steps = max(1, loop.steps_per_epoch // 2), loop.epochs * loop.steps_per_epoch
    for rows, last in loop.steps():
        real = augment(pictures_at(images, rows), recipe.augmentation, step.random)
        loop.total += step.take(place_images(real, device), loop.done, all_steps, restart_every)
        if last:
            error, used = reconstruction_error(step.model, held_out)
            loop.end_epoch(held_out_l1=error, codes_used=used)
    return step.model.eval(), loop.history


class _Step:
    """One step of the training, and what it changes."""

    def __init__(self, recipe: GeneratorRecipe, device: torch.device):
        self.recipe, self.device = recipe, device
        self.random = torch.Generator().manual_seed(recipe.seed)
        self.model = place(VQGAN(**vqgan_arguments(recipe)), device)
        self.use = CodeUse(recipe.codes)
        self.perceptual = place(PerceptualDistance(), device) if recipe.perceptual_weight else None
        self.discriminator: torch.nn.Module | None = None
        if recipe.adversarial_weight:
            self.discriminator = place(NLayerDiscriminator(ndf=32, n_layers=2).apply(weights_init), device)
        self.encode, self.decode = self.model.embed_images, self.model.decode_embeddings
        if recipe.compiled:
            self.encode, self.decode = torch.compile(self.encode), torch.compile(self.decode)
            if self.perceptual is not None:
                self.perceptual.features = torch.compile(self.perceptual.features)
        half = recipe.precision == "bfloat16"
        self.autocast = (lambda: torch.autocast(device.type, torch.bfloat16)) if half else nullcontext
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.vqgan_learning_rate, betas=(0.5, 0.9))
        self.parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer, "use": self.use}

    def prepare(self, steps: int) -> None:
        """Make the schedules of so many steps."""
        self.schedule = warm_up_then_cosine(self.optimizer, steps)
        self.parts["schedule"] = self.schedule
        if self.discriminator is not None:
            self.against = torch.optim.Adam(
                self.discriminator.parameters(), lr=self.recipe.vqgan_learning_rate, betas=(0.5, 0.9)
            )
            self.parts |= {"discriminator": self.discriminator, "against": self.against}

    def take(self, real: Tensor, done: int, steps: int, restart_every: int) -> float:
        """One step on pictures ``[B, 3, S, S]``; the loss without the adversarial term.

        Args:
            real: the pictures.
            done: number of this step, counted from 1.
            steps: of the training.
            restart_every: steps between two restarts of unused codes.
        """
        recipe, model = self.recipe, self.model
        model.train()
        with self.autocast():
            vectors = self.encode(real)
        vectors = vectors.float()
        if done == 1:  # start the codebook where the encoder's outputs are
            restart_codes(model, self.optimizer, vectors.detach(), torch.ones_like(self.use.unused), self.random)
        quantized, codebook_loss, (_, _, chosen) = model.quantize(vectors)
        self.use.note(chosen.cpu())
        with self.autocast():
            reconstruction = self.decode(quantized)
        shown = reconstruction.float()
        loss = F.l1_loss(shown, real)
        if self.perceptual is not None:
            with self.autocast():
                loss = loss + recipe.perceptual_weight * self.perceptual(shown, real)
        inner = codebook_loss
        if recipe.rate_weight:
            usage = self.use.share.to(self.device)
            inner = inner + recipe.rate_weight * code_length(vectors, model.codebook.detach(), usage)
        self.optimizer.zero_grad(set_to_none=True)
        if self.discriminator is not None and done > recipe.adversarial_start * steps:
            self.discriminator.requires_grad_(False)
            with self.autocast():
                adversarial = -self.discriminator(shown).float().mean()
            gradient = balanced_gradient(shown, loss, adversarial, recipe.adversarial_weight)
            torch.autograd.backward([shown, inner], [gradient, torch.ones_like(inner)])
        else:
            (loss + inner).backward()
        self.optimizer.step()
        if self.discriminator is not None and done > 0.75 * recipe.adversarial_start * steps:
            self._discriminate(real, shown.detach())
        self.schedule.step()
        if done % restart_every == 0:
            if done < 0.8 * steps:
                restart_codes(model, self.optimizer, vectors.detach(), self.use.unused, self.random)
            self.use.unused.fill_(True)
        return (loss + inner).item()

    def _discriminate(self, real: Tensor, drawn: Tensor) -> None:
        """One step of the discriminator, by the hinge loss."""
        assert self.discriminator is not None
        self.discriminator.requires_grad_(True)
        with self.autocast():
            loss = F.relu(1 - self.discriminator(real).float()).mean()
            loss = loss + F.relu(1 + self.discriminator(drawn).float()).mean()
        self.against.param_groups[0]["lr"] = self.optimizer.param_groups[0]["lr"]
        self.against.zero_grad(set_to_none=True)
        loss.backward()
        self.against.step()


@torch.no_grad()
def reconstruction_error(model: VQGAN, images: NDArray[Any], batch: int = 250) -> tuple[float, int]:
    """Mean absolute error (units of -1..1) of reconstructed pictures uint8 ``[N, S, S, 3]``, and the distinct codes."""
    model.eval()
    device = model.codebook.device
    total, used = 0.0, torch.zeros(len(model.codebook), dtype=torch.bool, device=device)
    for rows in torch.arange(len(images)).split(batch):
        real = place_images(pictures_at(images, rows), device)
        grids = model.encode(real)
        used[grids.flatten()] = True
        total += F.l1_loss(model.decode(grids), real, reduction="sum").item()
    return total / (images.size), int(used.sum())

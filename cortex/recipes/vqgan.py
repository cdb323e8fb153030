"""Train a VQGAN on pictures (Esser et al., CVPR 2021).

Two departures: the perceptual term has the features of a network that knows the pictures' classes
(:mod:`~cortex.recipes.perceptual`), and a rate term, of neural compression, may price rare codes: without it the
encoder spreads details of sparse pictures over the tokens of their empty background, and what a token means would not
be where it stands.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from taming.modules.diffusionmodules.model import ResnetBlock
from taming.modules.discriminator.model import NLayerDiscriminator, weights_init
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.device import place
from cortex.data.augment import augment
from cortex.generators.network.vqgan import VQGAN
from cortex.recipes.codes import RESTART_EVERY, Codebook
from cortex.recipes.loop import History, Loop
from cortex.recipes.losses import balanced_gradient, code_length
from cortex.recipes.pictures import pictures_at, place_images
from cortex.recipes.schedule import warm_up_then_cosine
from cortex.recipes.settings import GeneratorRecipe

COMMITMENT = 0.25  # weight of the commitment loss (van den Oord et al., NeurIPS 2017)


def vqgan_arguments(recipe: GeneratorRecipe) -> dict[str, Any]:
    """Keyword arguments of :class:`~cortex.generators.network.vqgan.VQGAN`."""
    return {
        "n_embed": recipe.codes,
        "embed_dim": recipe.code_channels,
        "norm_groups": recipe.norm_groups,
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
    perceptual: nn.Module | None,
    recipe: GeneratorRecipe,
    device: torch.device,
    state: Path,
    identity: dict[str, Any],
) -> tuple[VQGAN, History]:
    """Train a VQGAN.

    Loss: L1 + perceptual distance + commitment + rate + adversarial hinge loss of a patch discriminator. Codes that
    are hardly chosen are restarted at encoder outputs, until the last fifth of the steps.

    Args:
        images: pictures uint8 ``[N, S, S, 3]``, in memory or mapped.
        held_out: likewise, to measure on.
        perceptual: the perceptual distance of two batches of pictures ``[B, 3, S, S]`` in -1..1, on the device; None:
            the loss has no such term.
        recipe: the network, its loss and its training.
        device: where to compute.
        state: file of the training's state.
        identity: what the result depends on.

    Returns:
        The network in eval mode and a row an epoch: stage, epoch, train_loss, held_out_l1 (mean absolute error of
        pictures in -1..1), codes_used (distinct codes in the grids of the held-out pictures), seconds. The third and
        fourth are None before the outputs are quantized.
    """
    torch.manual_seed(recipe.seed)
    step = _Step(recipe, device, perceptual)
    loop = Loop(
        "vqgan", len(images), recipe.vqgan_batch, recipe.vqgan_epochs, step.random, step.parts, state, identity,
        recipe.save_every,
    )  # fmt: skip
    steps = loop.epochs * loop.steps_per_epoch
    step.prepare(steps)
    loop.parts = step.parts
    loop.resume()
    for rows, last in loop.steps():
        real = augment(pictures_at(images, rows), recipe.augmentation, step.random)
        loop.total += step.take(place_images(real, device), loop.done, steps)
        if last:
            error, used = None, None
            if loop.done > step.continuous(steps):
                error, used = reconstruction_error(step.model, held_out)
            loop.end_epoch(held_out_l1=error, codes_used=used)
    return step.model.eval(), loop.history


class _Step:
    """One step of the training, and what it changes."""

    def __init__(self, recipe: GeneratorRecipe, device: torch.device, perceptual: nn.Module | None = None):
        self.recipe, self.device, self.perceptual = recipe, device, perceptual
        self.random = torch.Generator().manual_seed(recipe.seed)
        self.model = place(VQGAN(**vqgan_arguments(recipe)), device)
        self.codebook = Codebook(self.model, self.random)
        self.discriminator: nn.Module | None = None
        if recipe.adversarial_weight:
            self.discriminator = place(NLayerDiscriminator(ndf=32, n_layers=2).apply(weights_init), device)
        if recipe.compiled:
            # Block by block: torch 2.13 compiles the whole decoder in bfloat16 to one whose gradients are 0.
            torch._dynamo.config.recompile_limit = 64
            for module in self.model.modules():
                if isinstance(module, ResnetBlock):
                    module.compile(dynamic=False)
        half = recipe.precision == "bfloat16"
        self.autocast = (lambda: torch.autocast(device.type, torch.bfloat16)) if half else nullcontext
        trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(trained, lr=recipe.vqgan_learning_rate, betas=(0.5, 0.9))
        self.parts: dict[str, Any] = {"model": self.model, "optimizer": self.optimizer, "codebook": self.codebook}

    def prepare(self, steps: int) -> None:
        """Make the schedules of so many steps."""
        self.schedule = warm_up_then_cosine(self.optimizer, steps)
        self.parts["schedule"] = self.schedule
        if self.discriminator is not None:
            self.against = torch.optim.Adam(
                self.discriminator.parameters(), lr=self.recipe.vqgan_learning_rate, betas=(0.5, 0.9)
            )
            self.parts |= {"discriminator": self.discriminator, "against": self.against}

    def continuous(self, steps: int) -> int:
        """Steps, of so many, before the encoder's outputs are quantized."""
        return int(self.recipe.quantize_from * steps)

    def take(self, real: Tensor, done: int, steps: int) -> float:
        """One step on pictures ``[B, 3, S, S]``; the loss without the adversarial term.

        Args:
            real: the pictures.
            done: number of this step, counted from 1.
            steps: of the training.
        """
        recipe, model = self.recipe, self.model
        model.train()
        with self.autocast():
            vectors = model.embed_images(real)
        vectors = vectors.float()
        quantized, commitment = vectors, 0 * vectors.mean()
        if (since := done - self.continuous(steps)) > 0:
            if since == 1:  # start the codebook where the encoder's outputs are
                self.codebook.restart(vectors.detach(), everything=True)
            quantized, commitment, chosen = self.codebook.quantize(vectors)
            self.codebook.update(vectors.detach(), chosen)
        with self.autocast():
            reconstruction = model.decode_embeddings(quantized)
        shown = reconstruction.float()
        loss = F.l1_loss(shown, real)
        if self.perceptual is not None:
            with self.autocast():
                loss = loss + recipe.perceptual_weight * self.perceptual(shown, real)
        inner = COMMITMENT * commitment
        if recipe.rate_weight and since > 0:
            inner = inner + recipe.rate_weight * code_length(vectors, model.codebook, self.codebook.share)
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
        if since > 0 and done % RESTART_EVERY == 0 and done < 0.8 * steps:
            self.codebook.restart(vectors.detach())
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

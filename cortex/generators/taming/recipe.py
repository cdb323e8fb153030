"""How the bundled digits generator is trained: a VQGAN on real digits, then a GPT on its token grids.

Two departures from Esser et al. (CVPR 2021). There is no adversarial term: at 4×4 pixels a token, an L1 loss gives
sharp strokes. And there is a price on rare codes, the rate term of neural compression: without it the encoder
spreads details of the strokes over the tokens of the empty background (the grid's corner held 2.1 nats, all
positions together 5.2 of at most 5.5), and what a token means would not be where it stands.
"""

import logging
import math
import time
from typing import Any

import torch
from taming.modules.transformer.mingpt import GPT
from torch import Tensor, nn

from cortex.core.device import place
from cortex.data.digits import CLASS_NAMES, IMAGE_SIDE, jitter
from cortex.generators.taming.vqgan import VQGAN

log = logging.getLogger(__name__)

ARCHITECTURE: dict[str, Any] = {
    "vqgan": {
        "n_embed": 256,
        "embed_dim": 32,
        "ddconfig": {
            "double_z": False,
            "z_channels": 32,
            "resolution": IMAGE_SIDE,
            "in_channels": 3,
            "out_ch": 3,
            "ch": 32,
            "ch_mult": [1, 1, 2],
            "num_res_blocks": 1,
            "attn_resolutions": [],
            "dropout": 0.0,
        },
    },
    "transformer": {"vocab_size": 256, "block_size": 64, "n_layer": 5, "n_head": 4, "n_embd": 128},
    "classes": list(CLASS_NAMES),
}

History = list[dict[str, Any]]


def train_vqgan(
    images: Tensor, held_out: Tensor, *, epochs: int, batch: int, learning_rate: float, rate_weight: float, seed: int
) -> tuple[VQGAN, History]:
    """Train the VQGAN of :data:`ARCHITECTURE` on images ``[N, 3, 32, 32]`` in -1..1, jittered anew every epoch.

    Loss: L1 + codebook loss + ``rate_weight`` × rate (:func:`code_length`). Codes that no position chose for half
    an epoch are restarted at encoder outputs, drawn in proportion to their squared distance from their nearest
    code, until the last fifth of the steps.

    Returns:
        The trained network and one row an epoch: stage, epoch, learning_rate, train_loss, held_out_loss (L1 on
        ``held_out``), codes_used (distinct codes in the grids of ``held_out``), seconds.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = place(VQGAN(**ARCHITECTURE["vqgan"]), torch.device("cpu"))
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    steps_per_epoch = math.ceil(len(images) / batch)
    schedule = _warm_up_then_cosine(optimizer, steps=epochs * steps_per_epoch)
    restart_every = max(1, steps_per_epoch // 2)
    codes = ARCHITECTURE["vqgan"]["n_embed"]
    unused = torch.ones(codes, dtype=torch.bool)
    usage = torch.full((codes,), 1 / codes)  # share of the positions that chose each code, a running average
    history: History = []
    step = 0
    for epoch in range(1, epochs + 1):
        began, total = time.perf_counter(), 0.0
        model.train()
        for rows in torch.randperm(len(images), generator=random).split(batch):
            real = jitter(images[rows], random).contiguous(memory_format=torch.channels_last)
            vectors = model.embed_images(real)
            if step == 0:  # start the codebook where the encoder's outputs are
                _restart(model, optimizer, vectors.detach(), unused, random)
            quantized, codebook_loss, (_, _, chosen) = model.quantize(vectors)
            usage.lerp_(chosen.flatten().bincount(minlength=codes) / chosen.numel(), 0.02)
            reconstruction = model.decode_embeddings(quantized)
            rate = code_length(vectors, model.codebook.detach(), usage)
            loss = nn.functional.l1_loss(reconstruction, real) + codebook_loss + rate_weight * rate
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
            unused[chosen.flatten()] = False
            step += 1
            if step % restart_every == 0:
                if step < 0.8 * epochs * steps_per_epoch:
                    _restart(model, optimizer, vectors.detach(), unused, random)
                unused.fill_(True)
        held_out_l1, codes_used = reconstruction_error(model, held_out)
        history.append(
            {
                "stage": "vqgan",
                "epoch": epoch,
                "learning_rate": schedule.get_last_lr()[0],
                "train_loss": total / len(images),
                "held_out_loss": held_out_l1,
                "codes_used": codes_used,
                "seconds": time.perf_counter() - began,
            }
        )
        log.info("vqgan epoch %d/%d: %s", epoch, epochs, history[-1])
    return model.eval(), history


def code_length(vectors: Tensor, codebook: Tensor, usage: Tensor) -> Tensor:
    """Nats a position that an entropy code would spend on the tokens of vectors ``[B, d, h, w]``, differentiable.

    The choice of a code is softened over the squared distances to all codes, at the temperature of the mean
    squared distance to the nearest.

    Args:
        vectors: encoder outputs.
        codebook: ``[K, d]``.
        usage: how often each code is chosen, ``[K]``, summing to 1.
    """
    distances = torch.cdist(vectors.permute(0, 2, 3, 1).flatten(0, 2), codebook).square()
    temperature = distances.detach().amin(1).mean().clamp_min(1e-4)
    return ((-distances / temperature).softmax(1) @ -(usage + 1e-4).log()).mean()


@torch.no_grad()
def reconstruction_error(model: VQGAN, images: Tensor, batch: int = 250) -> tuple[float, int]:
    """Mean absolute error of reconstructed images ``[N, 3, H, W]`` (in units of -1..1) and the distinct codes."""
    model.eval()
    total, used = 0.0, torch.zeros(len(model.codebook), dtype=torch.bool)
    for real in images.split(batch):
        grids = model.encode(real)
        used[grids.flatten()] = True
        total += nn.functional.l1_loss(model.decode(grids), real, reduction="sum").item()
    return total / images.numel(), int(used.sum())


@torch.no_grad()
def _restart(
    model: VQGAN, optimizer: torch.optim.Optimizer, vectors: Tensor, which: Tensor, random: torch.Generator
) -> None:
    """Put the codes marked in ``which`` ``[K]`` at encoder outputs ``[B, d, h, w]`` that lie far from any code."""
    if not which.any():
        return
    flat = vectors.permute(0, 2, 3, 1).flatten(0, 2)
    if which.all():
        weights = torch.ones(len(flat))
    else:
        weights = torch.cdist(flat, model.codebook[~which]).amin(1).square() + 1e-12
    drawn = torch.multinomial(weights, int(which.sum()), replacement=False, generator=random)
    model.codebook[which] = flat[drawn]
    for moment in optimizer.state.get(model.codebook, {}).values():
        if moment.shape == model.codebook.shape:
            moment[which] = 0


def train_transformer(
    vqgan: VQGAN,
    images: Tensor,
    labels: Tensor,
    held_out: tuple[Tensor, Tensor],
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    dropout: float,
    seed: int,
) -> tuple[GPT, History]:
    """Train the GPT of :data:`ARCHITECTURE` to predict token grids from a class, by next-token cross-entropy.

    The images ``[N, 3, 32, 32]`` are jittered and encoded anew every epoch. The class index stands before the
    grid as one token of the same vocabulary, as in taming-transformers' class-conditional ImageNet model.

    Returns:
        The network at its lowest held-out loss, and one row an epoch (losses in nats a token).
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    settings = dict(ARCHITECTURE["transformer"])
    model = GPT(**settings, embd_pdrop=dropout, resid_pdrop=dropout, attn_pdrop=dropout)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=(0.9, 0.95),
    )
    schedule = _warm_up_then_cosine(optimizer, steps=epochs * math.ceil(len(images) / batch))
    held_out_grids = _encode_all(vqgan, held_out[0])
    best, best_loss = model.state_dict(), math.inf
    history: History = []
    for epoch in range(1, epochs + 1):
        began, total = time.perf_counter(), 0.0
        grids = _encode_all(vqgan, jitter(images, random))
        model.train()
        for rows in torch.randperm(len(images), generator=random).split(batch):
            loss = _next_token_loss(model, labels[rows], grids[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        model.eval()
        with torch.no_grad():
            held_out_loss = _next_token_loss(model, held_out[1], held_out_grids).item()
        if held_out_loss < best_loss:
            best_loss = held_out_loss
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        history.append(
            {
                "stage": "transformer",
                "epoch": epoch,
                "learning_rate": schedule.get_last_lr()[0],
                "train_loss": total / len(images),
                "held_out_loss": held_out_loss,
                "codes_used": None,
                "seconds": time.perf_counter() - began,
            }
        )
        log.info("transformer epoch %d/%d: %s", epoch, epochs, history[-1])
    model.load_state_dict(best)
    return model.eval(), history


def _next_token_loss(model: GPT, labels: Tensor, grids: Tensor) -> Tensor:
    tokens = torch.cat([labels[:, None], grids.flatten(1)], dim=1)
    _, loss = model(tokens[:, :-1], targets=tokens[:, 1:].contiguous())
    return loss


@torch.no_grad()
def _encode_all(vqgan: VQGAN, images: Tensor, batch: int = 250) -> Tensor:
    return torch.cat([vqgan.encode(part) for part in images.split(batch)])


def _warm_up_then_cosine(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    warm_up = max(1, min(100, steps // 10))

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

"""Train a judge on real digits, so that it never sees a generated image or a token."""

import logging
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.device import choose_device, place
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.augment import jitter
from cortex.data.digits import real_digits
from cortex.judges.judge import build_judge, save_judge
from cortex.judges.settings import JudgeSettings, TrainedJudge

log = logging.getLogger(__name__)

HISTORY = pa.schema(
    [
        ("epoch", pa.int32()),
        ("learning_rate", pa.float64()),
        ("train_loss", pa.float64()),
        ("held_out_top1", pa.float64()),
    ]
)


def train_judge(output: Path, history: Path, *, settings: JudgeSettings, device: str = "auto") -> None:
    """Train a judge on 4,000 real digits, jittered anew every epoch, and measure its accuracy on 1,000 others.

    Args:
        output: weights of the last epoch to write (safetensors).
        history: Parquet to write: epoch, learning_rate, train_loss (nats), held_out_top1 (0..1).
        settings: settings of the network and its training.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: the run does not train such a network.
    """
    if not isinstance(settings, TrainedJudge):
        raise InputError(f"judge network {settings.network}: comes with weights; cortex pretrained-judge writes it")
    on = choose_device(device)
    digits, held_out = real_digits("train"), real_digits("held_out")
    torch.manual_seed(settings.seed)
    random = torch.Generator().manual_seed(settings.seed)
    model = place(build_judge(settings.network, settings.classes), on)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=0.05)
    steps = settings.epochs * -(-len(digits[0]) // settings.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps, pct_start=0.2)
    rows = []
    epochs = range(1, settings.epochs + 1)
    for epoch in progress(epochs, settings.epochs, f"training judge {settings.network}", "epoch"):
        rate = schedule.get_last_lr()[0]
        loss = train_epoch(model, *digits, settings.batch, random, optimizer, schedule)
        row = {"epoch": epoch, "learning_rate": rate, "train_loss": loss, "held_out_top1": accuracy(model, *held_out)}
        log.info("epoch %d of %d: loss %.4f, held-out top-1 %.4f", epoch, settings.epochs, *list(row.values())[2:])
        rows.append(row)
    save_judge(output, settings, model)
    write_table(history, pa.Table.from_pylist(rows, HISTORY))


def train_epoch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    batch: int,
    random: torch.Generator,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    """One pass over the images in a new order, each jittered; the mean loss, in nats."""
    device = next(model.parameters()).device
    model.train()
    total = torch.zeros((), device=device)
    for chosen in torch.randperm(len(images), generator=random).split(batch):
        logits = model(jitter(images[chosen], random).to(device, memory_format=torch.channels_last))
        loss = F.cross_entropy(logits, labels[chosen].to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.detach() * len(chosen)
    return total.item() / len(images)


@torch.inference_mode()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Top-1 accuracy (0..1)."""
    device = next(model.parameters()).device
    model.eval()
    parts = zip(images.split(250), labels.split(250), strict=True)
    right = sum((model(part.to(device)).argmax(1).cpu() == truth).sum().item() for part, truth in parts)
    return right / len(images)

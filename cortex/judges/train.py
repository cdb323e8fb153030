"""Train a judge on real digits, so that it never sees a generated image or a token."""

import logging
from pathlib import Path
from typing import Literal

import pyarrow as pa
import torch
from torch.nn import functional as F

from cortex.core.device import choose_device, place
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.core.weights import write_weights
from cortex.data.digits import CLASS_NAMES, jitter, real_digits
from cortex.judges.networks import NETWORKS

log = logging.getLogger(__name__)

HISTORY = pa.schema(
    [
        ("epoch", pa.int32()),
        ("learning_rate", pa.float64()),
        ("train_loss", pa.float64()),
        ("held_out_top1", pa.float64()),
    ]
)


def train_judge(
    output: Path,
    history: Path,
    network: Literal["vit", "resnet"],
    *,
    epochs: int = 30,
    batch: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Train a judge on 4,000 real digits, jittered anew every epoch; its accuracy is measured on 1,000 held-out ones.

    Args:
        output: weights to write (safetensors), those of the last epoch.
        history: Parquet to write: epoch, learning_rate, train_loss (nats), held_out_top1 (0..1).
        network: vit (a vision transformer) or resnet (a residual network).
        epochs: passes over the digits.
        batch: images a step.
        learning_rate: peak learning rate of AdamW, on a one-cycle schedule.
        seed: of the initial weights, the order and the jitter.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    images, labels = real_digits("train")
    held_out_images, held_out_labels = real_digits("held_out")
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = place(NETWORKS[network](classes=len(CLASS_NAMES)), on)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05)
    steps = epochs * -(-len(images) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.2)
    rows = []
    for epoch in progress(range(1, epochs + 1), epochs, f"training judge {network}", "epoch"):
        model.train()
        total = torch.zeros((), device=on)
        rate = schedule.get_last_lr()[0]
        for chosen in torch.randperm(len(images), generator=random).split(batch):
            logits = model(jitter(images[chosen], random).to(on, memory_format=torch.channels_last))
            loss = F.cross_entropy(logits, labels[chosen].to(on))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(chosen)
        model.eval()
        with torch.inference_mode():
            right = sum(
                (model(part.to(on)).argmax(1).cpu() == truth).sum().item()
                for part, truth in zip(held_out_images.split(250), held_out_labels.split(250), strict=True)
            )
        rows.append(
            {
                "epoch": epoch,
                "learning_rate": rate,
                "train_loss": total.item() / len(images),
                "held_out_top1": right / len(held_out_images),
            }
        )
        log.info("epoch %d of %d: loss %.4f, held-out top-1 %.4f", epoch, epochs, *list(rows[-1].values())[2:])
    write_weights(output, model.state_dict(), {"judge": network})
    write_table(history, pa.Table.from_pylist(rows, HISTORY))

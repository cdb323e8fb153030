"""Train an information extractor by the published recipe (METHOD.md, section 3)."""

import copy
import logging
import math
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.device import choose_device, place
from cortex.errors import InputError
from cortex.extractors.codebook import load_codebook, look_up
from cortex.extractors.network import NetworkName, build_extractor, save_extractor
from cortex.progress import progress
from cortex.shards.pack import read_packed
from cortex.tables import write_table

log = logging.getLogger(__name__)

HISTORY = pa.schema(
    [
        ("epoch", pa.int32()),
        ("learning_rate", pa.float64()),
        ("train_loss", pa.float64()),
        ("val_loss", pa.float64()),
        ("val_top1", pa.float64()),
        ("seconds", pa.float64()),
    ]
)


def train_extractor(
    output: Path,
    history: Path,
    network: NetworkName,
    train: Path,
    validation: Path,
    codebook: Path,
    *,
    classes: int,
    width: int = 512,
    hidden: int | None = None,
    dropout: float | None = None,
    layers: int | None = None,
    heads: int | None = None,
    mlp: int | None = None,
    epochs: int = 80,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-4,
    step_epochs: int = 20,
    step_factor: float = 0.1,
    warm_up: float = 0.1,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Train one information extractor on token embeddings and keep its epoch of lowest validation loss.

    Cross-entropy. CNN and ResNet: Adam, the learning rate stepped down; transformer: AdamW, linear warm-up, then
    cosine annealing to 0.

    Args:
        output: weights to write (safetensors).
        history: Parquet to write: epoch, learning_rate, train_loss, val_loss (nats), val_top1 (0..1), seconds.
        network: cnn (CE), cnn_deep, resnet (RE) or transformer (TE).
        train: packed grids to train on.
        validation: packed grids that choose the epoch.
        codebook: the generator's codebook.
        classes: classes of the generator.
        width: channels of the network.
        hidden: units of its fully connected layers; the published number if not given.
        dropout: the published rate if not given.
        layers: layers of the transformer; 12 if not given.
        heads: attention heads of the transformer; 8 if not given.
        mlp: units of the transformer's MLPs; 2048 if not given.
        epochs: passes over the training data.
        batch: images a step.
        learning_rate: at its highest.
        weight_decay: of Adam (L2) or AdamW (decoupled).
        step_epochs: (cnn, resnet) epochs between steps of the learning rate.
        step_factor: (cnn, resnet) factor of a step.
        warm_up: (transformer) share of all iterations that warm the learning rate up.
        seed: of the initial weights, the order of the images and dropout.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    code_vectors = load_codebook(codebook, on)
    data = {path: _load(path, len(code_vectors), classes, on) for path in (train, validation)}
    grid = tuple(data[train][0].shape[1:])
    settings: dict[str, Any] = {"channels": code_vectors.shape[1], "classes": classes, "grid": grid, "width": width}
    optional = {"hidden": hidden, "dropout": dropout, "layers": layers, "heads": heads, "mlp": mlp}
    settings |= {name: value for name, value in optional.items() if value is not None}

    torch.manual_seed(seed)
    model = place(build_extractor(network, **settings), on)
    steps_per_epoch = steps_in(len(data[train][0]), batch)
    if network == "transformer":
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            model.parameters(), lr=learning_rate, weight_decay=weight_decay
        )
        schedule = warm_up_then_cosine(optimizer, epochs * steps_per_epoch, warm_up)
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_epochs * steps_per_epoch, step_factor)

    best: dict[str, Tensor] = {}
    best_loss = math.inf
    rows: list[dict[str, Any]] = []
    order = torch.Generator().manual_seed(seed)
    for epoch in progress(range(1, epochs + 1), epochs, f"training {network}", "epoch"):
        began, rate = time.perf_counter(), schedule.get_last_lr()[0]
        train_loss = train_epoch(model, optimizer, schedule, code_vectors, *data[train], batch=batch, order=order)
        if not math.isfinite(train_loss):
            raise InputError(f"{network}: the loss is {train_loss} in epoch {epoch}; try a lower learning rate")
        val_loss, val_top1 = validate(model, code_vectors, *data[validation], batch=batch)
        if val_loss < best_loss:
            best_loss, best = val_loss, copy.deepcopy(model.state_dict())
        rows.append(
            {
                "epoch": epoch,
                "learning_rate": rate,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "val_top1": val_top1,
                "seconds": time.perf_counter() - began,
            }
        )
        log.info(
            "epoch %d of %d: train loss %.4f, validation loss %.4f, top-1 %.4f",
            epoch,
            epochs,
            train_loss,
            val_loss,
            val_top1,
        )
    save_extractor(output, network, settings, best)
    write_table(history, pa.Table.from_pylist(rows, HISTORY))


def steps_in(images: int, batch: int) -> int:
    """Steps of an epoch. A last batch of a single image is left out: batch norm cannot train on it."""
    return images // batch + (images % batch > 1)


def train_epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    codebook: Tensor,
    grids: Tensor,
    labels: Tensor,
    *,
    batch: int,
    order: torch.Generator,
) -> float:
    """One pass over grids ``[N, h, w]`` and labels ``[N]`` in a new order; the mean loss, in nats.

    The loss is summed on the device and read once, at the end: no step waits for it.
    """
    model.train()
    total, seen = torch.zeros((), device=grids.device), 0
    permutation = torch.randperm(len(grids), generator=order).to(grids.device)
    for rows in permutation.split(batch)[: steps_in(len(grids), batch)]:
        loss = F.cross_entropy(model(look_up(codebook, grids[rows])), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.detach() * len(rows)
        seen += len(rows)
    return total.item() / seen


@torch.inference_mode()
def validate(model: nn.Module, codebook: Tensor, grids: Tensor, labels: Tensor, *, batch: int) -> tuple[float, float]:
    """Mean cross-entropy (nats) and top-1 accuracy (0..1) over grids ``[N, h, w]``."""
    model.eval()
    loss = torch.zeros((), device=grids.device)
    right = torch.zeros((), device=grids.device)
    for part, truth in zip(grids.split(batch), labels.split(batch), strict=True):
        logits = model(look_up(codebook, part))
        loss += F.cross_entropy(logits, truth, reduction="sum")
        right += (logits.argmax(1) == truth).sum()
    return loss.item() / len(grids), right.item() / len(grids)


def warm_up_then_cosine(
    optimizer: torch.optim.Optimizer, steps: int, warm_up: float
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate rises linearly over the first ``warm_up`` of all steps, then falls to 0 along a cosine."""
    rising = round(steps * warm_up)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _load(path: Path, codes: int, classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Grids int32 ``[N, h, w]`` and labels int64 ``[N]`` on the device, checked against codebook and classes."""
    packed = read_packed(path)
    grids = torch.from_numpy(packed["grid"].astype("int32"))
    labels = torch.from_numpy(packed["label"].astype("int64"))
    if len(grids) < 2:
        raise InputError(f"{path}: {len(grids)} images; at least 2 are needed")
    for what, values, count in (("token", grids, codes), ("label", labels, classes)):
        if int(values.max()) >= count:
            row = int((values.flatten(1) if values.ndim > 1 else values[:, None]).amax(1).argmax())
            raise InputError(f"{path}: row {row}: {what} {int(values.max())}; allowed: 0 to {count - 1}")
    return grids.to(device), labels.to(device)

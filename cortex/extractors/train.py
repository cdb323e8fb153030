"""Train an information extractor by the published recipe (METHOD.md, section 3)."""

import copy
import logging
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cortex.core.device import choose_device, place
from cortex.core.errors import InputError, check_options
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.packed import read_packed
from cortex.extractors import EXTRACTORS
from cortex.extractors.codebook import load_codebook, load_composition, look_up
from cortex.extractors.names import training_seed
from cortex.extractors.network import build_extractor, save_extractor
from cortex.extractors.process_group import ALONE, ProcessGroup, join_process_group
from cortex.extractors.settings import ExtractorSettings, Precision, StepTraining, WarmUpTraining
from cortex.extractors.state import StateFile, Training, identify

log = logging.getLogger(__name__)

Data = tuple[Tensor, Tensor]  # grids [N, h, w], int16 with the bits of a uint16, and labels int64 [N], on the device
Network = Callable[[Tensor], Tensor]  # logits [B, classes] of embeddings [B, d, h, w]
Classify = Callable[[Tensor], Tensor]  # logits [B, classes] of grids [B, h, w]

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
    train: Path,
    validation: Path,
    codebook: Path,
    *,
    settings: ExtractorSettings,
    classes: int,
    seed: int = 0,
    training: int = 0,
    device: str = "auto",
) -> None:
    """Train one information extractor on token embeddings and keep its epoch of lowest validation loss.

    The loss is cross-entropy. The class of the settings chooses optimizer and schedule.

    An interrupted training continues when the command runs again. Its state is saved beside the output (ending .state)
    after every epoch and at SIGTERM, and removed at the end. On a CPU the weights are the same, to the last bit.

    Args:
        output: weights to write (safetensors).
        history: Parquet to write: epoch, learning_rate, train_loss, val_loss (nats), val_top1 (0..1), seconds.
        train: packed grids to train on.
        validation: packed grids that choose the epoch.
        codebook: the generator's codebook.
        settings: settings of the network and its training. Weights are stored in float32. With float16, the loss is
            scaled, so that small gradients do not vanish.
        classes: number of classes: labels are 0 to classes − 1.
        seed: seed of the run, for initial weights, order of the images and dropout.
        training: number of the training, from 0, if the extractor is trained several times.
        device: auto, cpu, cuda or cuda:N.
    """
    given = {name: value for name, value in locals().items() if name not in ("output", "history", "settings")}
    check_options(1, classes=classes)
    on = choose_device(device)
    precision = settings.precision or (settings.published_gpu_precision if on.type == "cuda" else "float32")
    code_vectors = load_codebook(codebook, on)
    data = [_load(path, len(code_vectors), classes, on) for path in (train, validation)]
    shape: dict[str, Any] = {"channels": code_vectors.shape[1], "classes": classes, "grid": tuple(data[0][0].shape[1:])}
    composition = load_composition(codebook)
    scales = {} if composition is None else {"scales": composition.sides}
    arguments = shape | scales | settings.network_arguments()
    seed = training_seed(seed, training)

    torch.manual_seed(seed)
    model = place(build_extractor(settings.network, **arguments), on)
    if composition is not None:
        model.get_submodule("composition").load_state_dict(composition.state_dict())
    steps = steps_in(len(data[0][0]), settings.batch)
    fused = on.type == "cuda" or precision == "float16"  # one kernel, which skips steps of gradients too large to scale
    optimizer, schedule = optimizer_of(settings, model, steps, fused=fused)
    order = torch.Generator().manual_seed(seed)
    scaler = torch.amp.GradScaler(on.type, enabled=precision == "float16")
    current = Training(model, optimizer, schedule, order, scaler, losses=torch.zeros(steps, device=on))

    recipe = settings.model_dump(mode="json", exclude=set(settings.of_the_run))
    as_json = {"precision": precision, "device": on.type}
    identity = identify(recipe | given | as_json, f"{__name__}:train_extractor", EXTRACTORS.reference(settings.network))
    team = join_process_group(on)
    with StateFile(output.with_suffix(".state"), identity, team) as state:
        shared = team.share(model, seed)
        network = torch.compile(shared) if settings.compile else shared
        read = partial(classify, network, code_vectors, precision=precision)
        state.resume(current)
        left = range(current.epoch, settings.epochs + 1)
        for _ in progress(left, len(left), f"training {settings.network}", "epoch") if team.rank == 0 else left:
            run_epoch(
                current,
                read,
                *data,
                batch=settings.batch,
                team=team,
                after_step=partial(state.stop_if_requested, current),
            )
            state.save(current)
        if team.rank == 0:
            save_extractor(output, settings.network, arguments, current.best)
            write_table(history, pa.Table.from_pylist(current.rows, HISTORY))
            state.remove()


def optimizer_of(
    settings: ExtractorSettings, model: nn.Module, steps: int, *, fused: bool
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The optimizer of a network's weights and the schedule of its learning rate, by the class of the settings.

    ``StepTraining``: Adam, the learning rate stepped down. ``WarmUpTraining``: AdamW, linear warm-up, then cosine
    annealing to 0. Neither: Adam at a constant rate.

    Args:
        settings: of the training.
        model: whose weights are trained.
        steps: steps of an epoch.
        fused: whether one kernel does the optimizer's step.
    """
    adam = torch.optim.AdamW if isinstance(settings, WarmUpTraining) else torch.optim.Adam
    optimizer = adam(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)
    match settings:
        case WarmUpTraining():
            return optimizer, warm_up_then_cosine(optimizer, settings.epochs * steps, settings.warm_up)
        case StepTraining():
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, settings.step_epochs * steps, settings.step_factor)
            return optimizer, schedule
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


def classify(network: Network, codebook: Tensor, grids: Tensor, precision: Precision = "float32") -> Tensor:
    """Logits float32 ``[B, classes]`` of grids ``[B, h, w]``, computed in a precision."""
    with torch.autocast(codebook.device.type, getattr(torch, precision), enabled=precision != "float32"):
        return network(look_up(codebook, grids)).float()


def run_epoch(
    training: Training,
    read: Classify,
    train: Data,
    validation: Data,
    *,
    batch: int,
    team: ProcessGroup = ALONE,
    after_step: Callable[[], None] = lambda: None,
) -> None:
    """Train for an epoch, or for the rest of one; validate; add a row to the history, and keep the best weights."""
    train_loss = train_epoch(training, read, *train, batch=batch, team=team, after_step=after_step)
    training.model.eval()
    val_loss, val_top1 = validate(read, *validation, batch=batch, team=team, after_step=after_step)
    if not math.isfinite(val_loss):
        raise InputError(f"the validation loss is {val_loss} after epoch {training.epoch}; try a lower learning rate")
    if val_loss < training.best_loss:
        training.best_loss, training.best = val_loss, copy.deepcopy(training.model.state_dict())
    row = {
        "epoch": training.epoch,
        "learning_rate": training.rate,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "val_top1": val_top1,
        "seconds": time.perf_counter() - training.began,
    }
    log.info("epoch %(epoch)d: train loss %(train_loss).4f, validation loss %(val_loss).4f, top-1 %(val_top1).4f", row)
    training.rows.append(row)
    training.epoch, training.step, training.began = training.epoch + 1, 0, time.perf_counter()


def steps_in(images: int, batch: int) -> int:
    """Steps of an epoch. A last batch of a single image is left out: batch norm cannot train on it."""
    return images // batch + (images % batch > 1)


def train_epoch(
    training: Training,
    read: Classify,
    grids: Tensor,
    labels: Tensor,
    *,
    batch: int,
    team: ProcessGroup = ALONE,
    after_step: Callable[[], None] = lambda: None,
) -> float:
    """One pass over grids ``[N, h, w]`` and labels ``[N]`` in a new order, or the rest of one; the mean loss, in nats.

    Grids of 16 bits hold codes as a uint16 does.

    The losses stay on the device and are read once, at the end: no step waits for them.

    Args:
        training: is brought from step to step.
        read: gives logits float32 ``[B, classes]`` of grids ``[B, h, w]``, by ``training.model``.
        grids, labels: the training data, on the device.
        batch: images a step, of all processes together.
        team: the processes, each of which takes its part of every batch.
        after_step: called after every step; may raise to stop.
    """
    training.model.train()
    steps = steps_in(len(grids), batch)
    if training.step == 0:
        training.images = torch.randperm(len(grids), generator=training.order).to(grids.device)
        training.losses = torch.zeros(steps, device=grids.device)
        training.rate = float(training.schedule.get_last_lr()[0])
    for rows in training.images.split(batch)[training.step : steps]:
        own = team.part(rows)
        loss = F.cross_entropy(read(_codes(grids[own])), labels[own], reduction="sum")
        training.optimizer.zero_grad(set_to_none=True)
        training.scaler.scale(loss * team.size / len(rows)).backward()  # gradients are averaged over processes
        training.scaler.step(training.optimizer)
        training.scaler.update()
        training.schedule.step()
        training.losses[training.step] = loss.detach()
        training.step += 1
        after_step()
    losses = team.total(training.losses)
    wrong = ~losses.isfinite()
    if wrong.any():
        step = int(wrong.int().argmax())
        raise InputError(
            f"the loss is {losses[step].item()} in epoch {training.epoch} at step {step + 1} of {steps}; "
            "try a lower learning rate"
        )
    return float(losses.sum()) / min(len(grids), steps * batch)


@torch.inference_mode()
def validate(
    read: Classify,
    grids: Tensor,
    labels: Tensor,
    *,
    batch: int,
    team: ProcessGroup = ALONE,
    after_step: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Mean cross-entropy (nats) and top-1 accuracy (0..1) over grids ``[N, h, w]``, by a network in eval mode."""
    loss = torch.zeros((), device=grids.device)
    right = torch.zeros((), device=grids.device)
    for part, truth in zip(map(team.part, grids.split(batch)), map(team.part, labels.split(batch)), strict=True):
        logits = read(_codes(part))
        loss += F.cross_entropy(logits, truth, reduction="sum")
        right += (logits.argmax(1) == truth).sum()
        after_step()
    return team.total(loss).item() / len(grids), team.total(right).item() / len(grids)


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
    """Grids and labels on the device, checked against codebook and classes. On a CPU, grids stay in their file."""
    packed = read_packed(path, "c")  # torch warns of arrays that cannot be written to
    if len(packed) < 2:
        raise InputError(f"{path}: {len(packed)} images; at least 2 are needed")
    for what, values, count in (("token", packed["grid"].max((1, 2)), codes), ("label", packed["label"], classes)):
        if values.max() >= count:
            raise InputError(f"{path}: row {values.argmax()}: {what} {values.max()}; allowed: 0 to {count - 1}")
    labels = torch.from_numpy(packed["label"].astype("int64"))
    return torch.from_numpy(packed["grid"].view("int16")).to(device), labels.to(device)


def _codes(grids: Tensor) -> Tensor:
    """The codes int32 of grids, of which an int16 stands for the uint16 of the same bits."""
    return grids.int() & 0xFFFF

"""Train a judge on labelled pictures: it never sees a token."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import nn
from torch.nn import functional as F

from cortex.core.device import choose_device, place
from cortex.core.errors import InputError
from cortex.core.fingerprint import code_fingerprint
from cortex.core.tables import write_table
from cortex.data.augment import augment
from cortex.data.picture_sources import PictureSource, find_pictures
from cortex.data.pictures import Pictures, read_split
from cortex.judges import JUDGES
from cortex.judges.judge import build_judge, save_judge
from cortex.judges.settings import JudgeSettings, TrainedJudge
from cortex.judges.stated import StatedJudge
from cortex.recipes.loop import Loop
from cortex.recipes.pictures import pictures_at, place_images
from cortex.recipes.schedule import warm_up_then_cosine

SAVE_EVERY = 300.0  # seconds between two saved states
WEIGHT_DECAY = 0.05
HISTORY = pa.schema(
    [
        ("epoch", pa.int32()),
        ("learning_rate", pa.float64()),
        ("train_loss", pa.float64()),
        ("held_out_top1", pa.float64()),
        ("seconds", pa.float64()),
    ]
)


def train_judge(
    output: Path,
    history: Path,
    *,
    settings: JudgeSettings,
    classes: tuple[str, ...] = (),
    needed: tuple[int, ...] = (),
    half: bool = False,
    device: str = "auto",
) -> None:
    """Train a judge on labelled pictures, and measure its accuracy on others that it is not trained on.

    An interrupted training goes on where its state stands, which is beside the output and named .state.

    Args:
        output: weights of the last epoch to write (safetensors).
        history: Parquet to write: epoch, learning_rate (of its last step), train_loss (nats), held_out_top1 (0..1),
            seconds.
        settings: pictures, network and training.
        classes: class names of a generator, in the order of the class indices; the classes of the pictures are matched
            to them by name. If not given, they stay in their own order.
        needed: class indices that the judge must know; all if not given.
        half: write the weights in float16, half as large.
        device: auto, cpu, cuda or cuda:N.

    Raises:
        InputError: the run does not train such a network, the pictures cannot be read, or they lack a class.
        StoppedError: SIGTERM came; the state is saved.
    """
    if not isinstance(settings, TrainedJudge):
        raise InputError(f"judge network {settings.network}: comes with weights; cortex pretrained-judge writes it")
    on = choose_device(device)
    names = settings.class_names_file()
    source = find_pictures(settings.images, names)
    held_out = None if settings.held_out is None else find_pictures(settings.held_out, names)
    stated = _stated(settings, source)
    if classes:
        stated = stated.for_classes(classes, needed or range(len(classes)), settings.images)
    folder, state = output.with_suffix(".pictures"), output.with_suffix(".state")
    try:
        parts = read_split(source, held_out, settings.size, folder)
        network, rows = fit(settings, stated, *parts, state=state, device=on)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    write_table(history, pa.Table.from_pylist(rows, HISTORY))
    save_judge(output, network, replace(stated, held_out_top1=rows[-1]["held_out_top1"]), half=half)
    state.unlink(missing_ok=True)


def fit(
    settings: TrainedJudge,
    stated: StatedJudge,
    train: Pictures,
    held_out: Pictures,
    *,
    state: Path,
    device: torch.device,
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """The trained network, and a row of the history for every epoch.

    Args:
        settings: of the training.
        stated: the network and the arguments of its constructor.
        train: pictures to learn from.
        held_out: pictures to measure on.
        state: file of the training's state.
        device: where to compute.
    """
    torch.manual_seed(settings.seed)
    random = torch.Generator().manual_seed(settings.seed)
    model = place(build_judge(stated.network, stated.arguments), device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=WEIGHT_DECAY)
    loop = Loop(
        name=f"judge {settings.network}",
        pictures=len(train),
        batch=settings.batch,
        epochs=settings.epochs,
        random=random,
        parts={"model": model, "optimizer": optimizer},
        state=state,
        identity=_identity(settings, train, held_out),
        save_every=SAVE_EVERY,
    )
    schedule = warm_up_then_cosine(optimizer, settings.epochs * loop.steps_per_epoch)
    loop.parts["schedule"] = schedule
    loop.resume()
    labels = torch.from_numpy(train.labels)
    for rows, last in loop.steps():
        model.train()
        images = augment(pictures_at(train.images, rows), settings.augmentation, random)
        logits = model(place_images(images, device))
        loss = F.cross_entropy(logits, labels[rows].to(device), label_smoothing=settings.label_smoothing)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        rate = float(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
        loop.total += loss.item()
        if last:
            loop.end_epoch(learning_rate=rate, held_out_top1=accuracy(model, held_out))
    return model, loop.history


def _stated(settings: TrainedJudge, source: PictureSource) -> StatedJudge:
    """The judge of the pictures' classes.

    Raises:
        InputError: they are of one class.
    """
    if len(source.class_names) < 2:
        raise InputError(f"{source.name}: pictures of one class; a judge tells at least two apart")
    arguments = {"classes": len(source.class_names), **settings.network_arguments()}
    return StatedJudge(settings.network, arguments, source.class_names)


def _identity(settings: TrainedJudge, train: Pictures, held_out: Pictures) -> dict[str, Any]:
    """What the training depends on: settings, pictures, code."""
    return {
        **settings.model_dump(exclude={"images", "held_out", "class_names"}),
        "train": train.digest,
        "held_out": held_out.digest,
        "code": code_fingerprint("cortex.judges.train:fit", JUDGES.reference(settings.network)),
        "torch": torch.__version__,
    }


@torch.inference_mode()
def accuracy(model: nn.Module, pictures: Pictures, batch: int = 250) -> float:
    """Top-1 accuracy (0..1)."""
    device = next(model.parameters()).device
    model.eval()
    right = 0
    for rows in torch.arange(len(pictures)).split(batch):
        images = place_images(pictures_at(pictures.images, rows), device)
        right += int((model(images).argmax(1).cpu() == torch.from_numpy(pictures.labels)[rows]).sum())
    return right / len(pictures)

"""What information extractors cost: counted on the network that the settings describe, without weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from cortex.core.cost import Counts, ExtractorCost, Stage, weight_bytes
from cortex.core.flops import count_flops
from cortex.core.memory import kept_bytes
from cortex.extractors.config import RunExtractor
from cortex.extractors.network import build_extractor
from cortex.extractors.settings import ExtractorSettings, PretrainedExtractor
from cortex.fast.region_forward import RegionForward, is_convolutional
from cortex.fast.winograd import Window

COPIES = 5  # of the weights in a training: they, their gradients, two moments of Adam, those of the best epoch


def extractor_cost(
    settings: RunExtractor,
    channels: int,
    classes: int,
    grid: tuple[int, int],
    searched: Window | None = None,
    scales: Sequence[int] = (),
) -> ExtractorCost:
    """What an extractor costs on grids of (h, w) codes of d channels, of which a region may be searched.

    Args:
        settings: its section of a config.
        channels: of a code, d.
        classes: that it tells apart.
        grid: (h, w).
        searched: rows and columns of the region.
        scales: rows and columns of every scale of tokens; empty: they have one.
    """
    network = _on_meta(settings, channels, classes, grid, scales)
    with torch.device("meta"):
        embeddings = torch.empty(2, channels, *grid)
        targets = torch.empty(2, dtype=torch.int64)
    step = count_flops(lambda: network.train()(embeddings).sum().backward()) / 2
    forward = count_flops(lambda: network.train()(embeddings)) / 2
    network.requires_grad_(False)
    gradient = count_flops(lambda: network.train()(embeddings.requires_grad_()).sum().backward()) / 2
    search = gradient
    if searched is not None and is_convolutional(network):
        logits = RegionForward(network.eval()).target_logits(embeddings.detach(), searched, targets)
        (top, bottom), (left, right) = searched
        inside = torch.empty(2, bottom - top, right - left, channels, device="meta", requires_grad=True)
        search = count_flops(lambda: logits(inside).sum().backward()) / 2
    memory = training_memory(settings, channels, classes, grid, scales)
    return ExtractorCost(step, forward, gradient, search, weight_bytes(network), network, settings.seeds, memory)


def training_memory(
    settings: RunExtractor, channels: int, classes: int, grid: tuple[int, int], scales: Sequence[int] = ()
) -> float:
    """Bytes that a process of an extractor's training holds, in float32, beside its data; see :func:`extractor_cost`.

    They are copies of the weights, and what the backward pass of the process's part of a batch keeps. On a GPU,
    attention keeps less.
    """
    if not isinstance(settings, ExtractorSettings):
        return 0
    network = _on_meta(settings, channels, classes, grid, scales)
    embeddings = torch.empty(-(-settings.batch // settings.gpus), channels, *grid, device="meta")
    return COPIES * weight_bytes(network) + kept_bytes(network.train(), embeddings)


def _on_meta(
    settings: RunExtractor, channels: int, classes: int, grid: tuple[int, int], scales: Sequence[int]
) -> nn.Module:
    of_run: dict[str, Any] = {"scales": scales, "channels": channels, "classes": classes, "grid": grid}
    with torch.device("meta"):
        return build_extractor(settings.network, **of_run | settings.network_arguments())


def training_flops(settings: ExtractorSettings, cost: ExtractorCost, train: int, validation: int) -> float:
    """FLOP of one training on so many images."""
    return settings.epochs * (train * cost.step + validation * cost.forward)


def costs(counts: Counts) -> Iterator[Stage]:
    """The trainings of every extractor; of one that was trained elsewhere, its weights are copied."""
    train, validation = counts.splits["train"], counts.splits["validation"]
    for name, cost in counts.extractors.items():
        settings = counts.config.extractors[name]
        if isinstance(settings, PretrainedExtractor):
            copied = cost.trainings * cost.bytes
            yield Stage("pretrained_extractor", {"extractor": name}, read=copied, written=copied)
            continue
        yield Stage(
            "train_extractor",
            {"extractor": name},
            samples=cost.trainings * settings.epochs * train.samples,
            flops=cost.trainings * training_flops(settings, cost, train.samples, validation.samples),
            read=cost.trainings * (train.packed + validation.packed),
            written=cost.trainings * cost.bytes,
        )

"""Costs of stages, stated beside the code that spends them: what ``cortex plan`` adds up.

Every package of stages has a module ``cost`` with ``costs(counts)``, and every study ``costs(settings, counts)``. Each
yields a :class:`Stage` for the jobs of a rule. Snakemake counts the jobs; no stage states their number. A FLOP is an
addition or a multiplication; only matrix products and convolutions are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

ROW = 20  # bytes of a row of a table, compressed


@dataclass(frozen=True)
class Stage:
    """What the jobs of a rule cost together, or those of its jobs that have certain wildcards.

    Args:
        rule: name of the rule.
        wildcards: the jobs' wildcards by name. ``cnn`` stands for every training, ``cnn/0``, ``cnn/1``, ...
        part: which part of the jobs, where several stages share them.
        samples: images that are drawn, learned from, explained or judged; each as often as it is.
        flops: of arithmetic.
        traffic: bytes that must come from the device's memory where those, not arithmetic, decide.
        read: bytes of files.
        written: bytes of files; all are kept.
    """

    rule: str
    wildcards: Mapping[str, str] = field(default_factory=dict)
    part: str = ""
    samples: float = 0
    flops: float = 0
    traffic: float = 0
    read: float = 0
    written: float = 0

    def seconds(self, flops: float, bandwidth: float) -> float:
        """Time at so many FLOP and bytes of memory a second: the slower of the two decides."""
        return max(self.flops / flops, self.traffic / bandwidth)


@dataclass(frozen=True)
class SplitSize:
    """Images of a split, and bytes of its files.

    Args:
        samples: images.
        computed: images that are computed for them: canonical batches are computed whole.
        decoded: of these, images that are decoded.
        shards: tars.
        tars: bytes of the tars.
        members: bytes of the tars that are read where images are skipped.
        tables: bytes of the token tables.
        packed: bytes of the packed grids.
        scores: bytes of one extractor's importance files.
        pixels: bytes of the decoded images.
    """

    samples: int
    computed: int
    decoded: int
    shards: int
    tars: float
    members: float
    tables: float
    packed: float
    scores: float
    pixels: float


@dataclass(frozen=True)
class GeneratorCost:
    """Arithmetic and memory traffic of a generator.

    Args:
        sample_flops: of drawing one grid; of a generator that draws in steps, of one step.
        sample_bytes: bytes that it must read from the device's memory, in a batch of the plan's size.
        decode_flops: of decoding one grid.
        prior_flops: of the log-probabilities at the first n positions of a grid, by n from 0 to P; empty: no prior.
        weights_bytes: of the weights file.
        sampling_memory: bytes of weights, and keys and values or logits, that the device holds for such a batch.
    """

    sample_flops: float
    sample_bytes: float
    decode_flops: float
    prior_flops: tuple[float, ...]
    weights_bytes: float
    sampling_memory: float = 0


@dataclass(frozen=True)
class ExtractorCost:
    """What an extractor costs.

    Args:
        step, forward, gradient: FLOP an image of a training step, a forward pass, and a gradient of the input.
        search: FLOP an image of a gradient of the searched region alone.
        bytes: of the weights.
        network: on the meta device, without weights.
        trainings: how often it is trained.
        training_memory: bytes that a process of its training holds of the device's memory, in float32; 0: it is not
            trained.
    """

    step: float
    forward: float
    gradient: float
    search: float
    bytes: float
    network: nn.Module
    trainings: int = 1
    training_memory: float = 0


@dataclass(frozen=True)
class JudgeCost:
    """FLOP an image, 0 where they are not known; of its training if the run trains it; and bytes of the weights."""

    forward: float
    training: float
    bytes: float


@dataclass(frozen=True)
class Counts:
    """What the costs of a run are counted with.

    Args:
        config: the validated config.
        classes: how many classes the run is about.
        grid: (h, w) of a token grid.
        codes: in the codebook, K.
        scales: rows and columns of every scale of tokens; empty: they have one.
        channels: of a code, d.
        splits: sizes by split.
        generator: its cost.
        extractors, judges: their costs by name.
    """

    config: Any
    classes: int
    grid: tuple[int, int]
    codes: int
    channels: int
    splits: Mapping[str, SplitSize]
    generator: GeneratorCost
    extractors: Mapping[str, ExtractorCost]
    judges: Mapping[str, JudgeCost]
    scales: tuple[int, ...] = ()

    @property
    def positions(self) -> int:
        """Positions of a grid."""
        return prod(self.grid)

    def averages(self, extractor: str) -> int:
        """Averages of an extractor's scores over its trainings: 1, or 0."""
        return int(self.config.importance.average and self.extractors[extractor].trainings > 1)

    @property
    def explainers(self) -> int:
        """Trained extractors, and averages of their scores."""
        return self.trained + sum(map(self.averages, self.extractors))

    @property
    def trained(self) -> int:
        """Trained extractors: every training counts."""
        return sum(cost.trainings for cost in self.extractors.values())


def weight_bytes(network: nn.Module) -> float:
    """Bytes of a network's weights file."""
    return sum(4 * weight.numel() for weight in network.state_dict().values())

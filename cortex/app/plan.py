"""What a run costs, stage by stage, before it is paid: jobs, arithmetic, bytes and hours, from the config alone.

Arithmetic is counted on the networks that the config describes, without weights. A FLOP is an addition or a
multiplication; what is not a matrix product or a convolution is left out.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cortex.config import Attributions, Config, PretrainedJudge, Training, parse_config
from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.data.digits import CLASS_NAMES, HELD_OUT_PER_CLASS, IMAGE_SIDE, TRAIN_PER_CLASS
from cortex.data.draw import canonical_batches
from cortex.evaluate.image_level import METHODS
from cortex.explain.codebook_search import Region, target_logits_with
from cortex.extractors.network import build_extractor
from cortex.fast.region_forward import Convolutional, RegionForward
from cortex.generators.spec import GeneratorSpec
from cortex.generators.taming.networks import CONSTANT, empty_networks
from cortex.judges.networks import NETWORKS
from cortex.studies.sanity.randomise import weight_layers

SPLITS = ("train", "validation", "test")
TAR_BLOCK = 512
SHAPE = {"width", "hidden", "dropout", "layers", "heads", "mlp"}  # settings of an extractor that its network takes
# Bytes of an image file for each of a photograph's; the digits' PNG have 0.4.
IMAGE_FILES = {"png": 0.6, "jpeg": 0.2, "webp": 0.15, "none": 0.0}
ROW = 20  # bytes of a row of an evaluation's table, compressed
# Multiply-adds of an image and parameters, as torchvision's and efficientnet-lite's documentations state them.
PRETRAINED = {
    "vit_b_16": (17.56e9, 86.6e6),
    "vit_b_32": (4.41e9, 88.2e6),
    "resnet18": (1.81e9, 11.7e6),
    "resnet50": (4.09e9, 25.6e6),
    "efficientnet_lite0": (0.41e9, 4.7e6),
}


@dataclass(frozen=True)
class Stage:
    """What all jobs of a rule, or those about one extractor or judge, cost together.

    Args:
        rule: its name in the workflow.
        about: the extractor or judge, or nothing.
        jobs: how many; those of a rule of several stages are told with its first.
        samples: images that are drawn, learned from, explained or judged; each as often as it is.
        flops: of arithmetic.
        traffic: bytes that must come from the device's memory where those, not arithmetic, decide.
        read: bytes of files.
        written: bytes of files; all are kept.
    """

    rule: str
    about: str
    jobs: int
    samples: float = 0
    flops: float = 0
    traffic: float = 0
    read: float = 0
    written: float = 0

    def seconds(self, flops: float, bandwidth: float) -> float:
        """Time at so many FLOP and bytes of memory a second: the slower of the two decides."""
        return max(self.flops / flops, self.traffic / bandwidth)


def print_plan(config: Path, *, flops: float | None = None, bandwidth: float | None = None) -> None:
    """Print what the run of a config costs, stage by stage: jobs, samples, FLOP, bytes of files, and time.

    Times are those at the full rate, and of all jobs one after another: a bound. A GPU's rate is that of bfloat16;
    what is computed in float32, as importance, searches and judges are, takes longer, most of all a transformer's
    products. Divide them by the number of GPUs. Nothing of the generator is read but what says its shapes.

    Args:
        config: the config file.
        flops: FLOP a second of the device, such as 4e14; a large product is timed on this machine if not given.
        bandwidth: bytes a second of its memory, such as 2.6e12; a copy is timed on this machine if not given.
    """
    for option, rate in (("flops", flops), ("bandwidth", bandwidth)):
        if rate is not None and not 0 < rate < math.inf:
            raise InputError(f"--{option} = {rate}: allowed: above 0, and finite")
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{config}: not YAML: {' '.join(str(error).split())}") from None
    parsed, facts = parse_config(settings)
    origin = "as given"
    if flops is None or bandwidth is None:
        device = choose_device("auto")
        origin = f"measured on {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'the CPUs here'}"
        flops, bandwidth = flops or product_rate(device), bandwidth or copy_rate(device)
    stages = list(stages_of(parsed, facts))
    print(f"{config}: run {parsed.run}, at {flops:.2g} FLOP and {bandwidth:.2g} bytes of memory a second, {origin}\n")
    print(table(stages, flops, bandwidth))
    kept = sum(stage.written for stage in stages)
    print(f"\nAll that is written is kept: {amount(kept, 'B')} on disk. Times are a bound, one job after another.")


def table(stages: list[Stage], flops: float, bandwidth: float) -> str:
    """The stages as lines of text, and their sum."""
    lines = [("stage", "jobs", "samples", "FLOP", "a sample", "read", "written", "time")]
    for stage in stages:
        lines.append(
            (
                f"{stage.rule} {stage.about}".strip(),
                f"{stage.jobs or ''}",
                f"{stage.samples:,.0f}" if stage.samples else "",
                amount(stage.flops),
                amount(stage.flops / stage.samples) if stage.samples else "",
                amount(stage.read, "B"),
                amount(stage.written, "B"),
                duration(stage.seconds(flops, bandwidth)),
            )
        )
    total = [sum(getattr(stage, name) for stage in stages) for name in ("jobs", "flops", "read", "written")]
    seconds = sum(stage.seconds(flops, bandwidth) for stage in stages)
    sums = (f"{total[0]}", "", amount(total[1]), "", amount(total[2], "B"), amount(total[3], "B"), duration(seconds))
    lines.append(("total", *sums))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rows = []
    for first, *others in lines:
        numbers = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        rows.append("  ".join([first.ljust(widths[0]), *numbers]).rstrip())
    return "\n".join(rows)


def amount(number: float, unit: str = "") -> str:
    """A number with a prefix for its thousands, as in 1.5 G; nothing for 0."""
    if not number:
        return ""
    number = float(f"{number:.3g}")
    power = min(6, max(0, (len(f"{number:.0f}") - 1) // 3))
    return f"{number / 1000**power:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}{unit}".rstrip()


def duration(seconds: float) -> str:
    """A time in hours, minutes or seconds; nothing for less than a tenth of a second."""
    if seconds < 0.1:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


# What the stages cost


def stages_of(config: Config, facts: GeneratorSpec) -> Iterator[Stage]:
    """The cost of every rule of the workflow, in its order; tables and figures are jobs that cost nothing."""
    counts = Counts(config, facts)
    yield from _generation(config, counts)
    yield from _training(config, counts)
    if counts.extractors:
        yield from _explanation(config, counts)
        yield from _evaluation(config, counts)
        yield from _attributions(config, counts)
        yield from _search_controls(config, counts)
        yield from _trust_controls(config, counts)
        yield from _planted(config, counts)
    yield from _bias(config, counts)
    if not counts.extractors:
        return
    figures = ("samples", "training", "importance", "tokens", "masking", "concept_level", "codebook_level")
    for figure in figures:
        yield Stage(f"draw_{figure}", "", 1)
    yield Stage("draw_search", "", len(config.judges), read=len(config.judges) * counts.tars("test"))
    yield Stage("report", "", 1)


class Counts:
    """What several stages count with.

    Args:
        config, facts: as :func:`cortex.config.parse_config` gives them.
    """

    def __init__(self, config: Config, facts: GeneratorSpec):
        self.config, self.facts = config, facts
        self.architecture = config.generator.architecture()
        self.classes = config.classes(facts)
        self.positions = prod(facts.grid)
        self.side: int = self.architecture["vqgan"]["ddconfig"]["resolution"]
        networks = empty_networks(self.architecture)
        self.generator_bytes = weight_bytes(networks)
        vqgan: Any = networks["first_stage_model"]
        grid = torch.zeros(1, *facts.grid, dtype=torch.int64, device="meta")
        self.decode_flops = count_flops(lambda: vqgan.decode(grid))
        self.searched = len(config.codebook_search.pairs) * config.codebook_search.images_per_class
        search = config.codebook_search
        self.records = search.steps // search.record_every + (search.steps % search.record_every > 0)
        self.region = Region(**search.region.model_dump())
        classes = len(facts.class_names)
        self.extractors = {
            name: extractor_cost(name, settings, facts, classes, self.region)
            for name, settings in config.extractors.chosen().items()
        }
        self.judges = {name: judge_cost(judge) for name, judge in sorted(config.judges.items())}

    def samples(self, split: str) -> int:
        """Images of a split."""
        per_class: int = getattr(self.config.data.per_class, split)
        return per_class * len(self.classes)

    def shards(self, split: str) -> int:
        """Tars of a split."""
        return -(-self.samples(split) // self.config.data.shard_size)

    def tokens(self, split: str) -> float:
        """Bytes that are read of a split's tars where images are skipped."""
        grid = TAR_BLOCK * -(-(128 + 2 * self.positions) // TAR_BLOCK)
        return self.samples(split) * (5 * TAR_BLOCK + grid)  # a header for each of three members; label, information

    def tars(self, split: str) -> float:
        """Bytes of a split's tars: members fill whole blocks."""
        image = IMAGE_FILES[getattr(self.config.data.images, split)] * 3 * self.side**2
        around = 1.5 * TAR_BLOCK if image else 0  # a header, and what fills the last block
        return self.tokens(split) + self.samples(split) * (image + around)

    def packed(self, split: str) -> float:
        """Bytes of a split's packed grids."""
        return self.samples(split) * (2 + 2 * self.positions)

    def scores(self, split: str) -> float:
        """Bytes of a split's importance files, of one extractor."""
        return self.samples(split) * (4 * self.positions + ROW)

    def drawn(self, split: str) -> int:
        """Samples of a split that are drawn: canonical batches are drawn whole, wanted or not."""
        batch = (self.config.generator.batch.classes, self.config.generator.batch.indices)
        labels, size = np.asarray(self.classes), self.config.data.shard_size
        total = 0
        for first in range(0, self.samples(split), size):
            numbers = np.arange(first, min(first + size, self.samples(split)))
            blocks = canonical_batches(
                labels[numbers % len(labels)], numbers // len(labels), batch, len(self.facts.class_names)
            )
            total += sum(len(of_batch) for of_batch, *_ in blocks)
        return total


@dataclass(frozen=True)
class ExtractorCost:
    """What an extractor costs.

    Args:
        step, forward, gradient: FLOP an image of a training step, a forward pass, and a gradient of the input.
        search: FLOP an image of a gradient of the codebook search's region alone.
        bytes: of the weights.
        layers: that have weights.
    """

    step: float
    forward: float
    gradient: float
    search: float
    bytes: float
    layers: int


def extractor_cost(
    name: str, settings: Training, facts: GeneratorSpec, classes: int, searched: Region | None = None
) -> ExtractorCost:
    """What an extractor of the config costs on grids of the generator's shape, of which a region may be searched."""
    with torch.device("meta"):
        network = build_extractor(
            name,
            channels=facts.channels,
            classes=classes,
            grid=facts.grid,
            **{key: value for key, value in settings.model_dump().items() if key in SHAPE},
        )
        embeddings = torch.empty(2, facts.channels, *facts.grid)
    step = count_flops(lambda: network.train()(embeddings).sum().backward()) / 2
    forward = count_flops(lambda: network.train()(embeddings)) / 2
    network.requires_grad_(False)
    gradient = count_flops(lambda: network.train()(embeddings.requires_grad_()).sum().backward()) / 2
    search = gradient
    if searched is not None and isinstance(network, Convolutional):
        with torch.device("meta"):
            inside = torch.empty(2, searched.height * searched.width, facts.channels, requires_grad=True)
            targets = torch.empty(2, dtype=torch.int64)
        logits = target_logits_with(RegionForward(network.eval()), embeddings.detach(), targets, searched)
        search = count_flops(lambda: logits(inside).sum().backward()) / 2
    return ExtractorCost(step, forward, gradient, search, weight_bytes(network), len(weight_layers(network)))


@dataclass(frozen=True)
class JudgeCost:
    """FLOP an image, of its training if it is trained in the run, and bytes of the weights."""

    forward: float
    training: float
    bytes: float


def attribution_flops(asked: Attributions, cost: ExtractorCost, samples: int, positions: int) -> float:
    """FLOP of an image's attributions, with so many noisy copies for those that take them, on a grid's positions."""
    gradients = {"gradient": 1, "gradient_input": 1, "integrated_gradients": asked.steps, "smoothgrad_mean": samples}
    passes = {"occlusion": 1 + positions}
    return sum(
        gradients.get(method, 0) * cost.gradient + passes.get(method, 0) * cost.forward for method in asked.methods
    )


def judge_cost(judge: Any) -> JudgeCost:
    """What a judge of the config costs."""
    if isinstance(judge, PretrainedJudge):
        multiply_adds, parameters = PRETRAINED[judge.network]
        return JudgeCost(2 * multiply_adds, 0, 4 * parameters)
    with torch.device("meta"):
        network = NETWORKS[judge.network](classes=len(CLASS_NAMES)).train()
        images = torch.empty(2, 3, IMAGE_SIDE, IMAGE_SIDE)
    forward = count_flops(lambda: network(images)) / 2
    step = count_flops(lambda: network(images).sum().backward()) / 2
    digits = len(CLASS_NAMES) * judge.epochs
    training = digits * (TRAIN_PER_CLASS * step + HELD_OUT_PER_CLASS * forward)
    return JudgeCost(forward, training, weight_bytes(network))


def count_flops(work: Callable[[], object]) -> float:
    """FLOP of what ``work`` does with tensors, which may be without content."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def weight_bytes(network: nn.Module) -> float:
    """Bytes of a network's weights file."""
    return sum(4 * weight.numel() for name, weight in network.state_dict().items() if not name.endswith(CONSTANT))


def token_flops(transformer: dict[str, Any], steps: int) -> float:
    """FLOP of the GPT for a sequence of ``steps`` tokens, drawn with a key/value cache."""
    width, layers = transformer["n_embd"], transformer["n_layer"]
    weights = layers * 12 * width**2 + width * transformer["vocab_size"]
    attention = layers * 2 * width * steps * (steps + 1) / 2  # query · key and weight · value, over all so far
    return 2 * (steps * weights + attention)


def cache_bytes(transformer: dict[str, Any], steps: int, size: int) -> float:
    """Bytes of keys and values, of ``size`` bytes a number, that drawing a sequence reads."""
    return transformer["n_layer"] * 2 * transformer["n_embd"] * size * steps * (steps + 1) / 2


def _generation(config: Config, counts: Counts) -> Iterator[Stage]:
    weights = counts.generator_bytes
    if config.generator.folder is not None:
        yield Stage("convert_generator", "", 1, read=weights, written=weights)
    imported = config.data.imports.chosen()
    if len(imported) < len(SPLITS):
        yield from _drawing(config, counts)
    for split in imported:
        yield Stage(f"import_{split}", "", 1, counts.samples(split), written=counts.tars(split))
    written = sum(counts.tars(split) for split in SPLITS)
    yield Stage("manifest", "", 1, read=written + sum(counts.tokens(split) for split in SPLITS))
    trained_on = ("train", "validation")
    packed = sum(counts.packed(split) for split in trained_on)
    grids = sum(counts.tokens(split) for split in trained_on)
    yield Stage("pack_grids", "", len(trained_on), read=grids, written=packed)
    codebook = 4 * counts.facts.codes * counts.facts.channels
    yield Stage("export_codebook", "", 1, read=codebook, written=codebook)


def _drawing(config: Config, counts: Counts) -> Iterator[Stage]:
    transformer, steps = counts.architecture["transformer"], counts.positions
    on_gpu = config.device.startswith("cuda") or (config.device == "auto" and torch.cuda.is_available())
    half = config.generator.precision == "bfloat16" or (config.generator.precision == "auto" and on_gpu)
    size = 2 if half else 4
    by_split = {split: counts.drawn(split) for split in SPLITS if split not in config.data.imports.chosen()}
    drawn = sum(by_split.values())
    decoded = sum(count for split, count in by_split.items() if getattr(config.data.images, split) != "none")
    batch = min(config.generator.batch.classes, len(counts.facts.class_names)) * config.generator.batch.indices
    of_transformer = 4 * transformer["n_embd"] * transformer["vocab_size"]  # the head stays float32
    of_transformer += size * 12 * transformer["n_layer"] * transformer["n_embd"] ** 2
    jobs = sum(counts.shards(split) for split in by_split)
    yield Stage(
        "generate_shard",
        "(tokens)",
        jobs,
        samples=drawn,
        flops=drawn * token_flops(transformer, steps),
        traffic=drawn * (cache_bytes(transformer, steps, size) + steps * of_transformer / batch),
        read=jobs * counts.generator_bytes,
    )
    written = sum(counts.tars(split) for split in by_split)
    yield Stage("generate_shard", "(images)", 0, decoded, decoded * counts.decode_flops, written=written)


def _training(config: Config, counts: Counts) -> Iterator[Stage]:
    for name, cost in counts.extractors.items():
        epochs = config.extractors.chosen()[name].epochs
        train, validation = epochs * counts.samples("train"), epochs * counts.samples("validation")
        yield Stage(
            "train_extractor",
            name,
            1,
            samples=train,
            flops=train * cost.step + validation * cost.forward,
            read=counts.packed("train") + counts.packed("validation"),
            written=cost.bytes,
        )
    for name, judge in counts.judges.items():
        rule = "pretrained_judge" if isinstance(config.judges[name], PretrainedJudge) else "train_judge"
        yield Stage(rule, name, 1, flops=judge.training, written=judge.bytes)


def _explanation(config: Config, counts: Counts) -> Iterator[Stage]:
    explained = ("train", "test")
    images = sum(counts.samples(split) for split in explained)
    search = config.codebook_search
    region = search.region.height * search.region.width
    for name, cost in counts.extractors.items():
        yield Stage(
            "importance",
            name,
            sum(counts.shards(split) for split in explained),
            samples=images,
            flops=images * (config.importance.samples * cost.gradient + cost.forward),
            read=sum(counts.tokens(split) for split in explained),
            written=sum(counts.scores(split) for split in explained),
        )
        yield Stage("concept_tokens", name, 1, read=counts.tokens("train") + counts.scores("train"))
    yield Stage("frequent_tokens", "", 1, read=counts.packed("train"))
    for name, cost in counts.extractors.items():
        soft = 2 * region * counts.facts.channels * counts.facts.codes  # the gradient against all codes
        snapped = 2 * region * counts.facts.channels * counts.facts.codes * counts.records  # to the nearest of them
        yield Stage(
            "codebook_search",
            name,
            1,
            samples=counts.searched,
            flops=counts.searched * (search.steps * (2 * cost.search + soft) + snapped),
            read=counts.tokens("test"),
            written=counts.searched * 2 * counts.records * region * 4,
        )


def _search_controls(config: Config, counts: Counts) -> Iterator[Stage]:
    controls = config.controls.search
    if controls is None:
        return
    search, transformer = config.codebook_search, counts.architecture["transformer"]
    size, columns = search.region.height * search.region.width, counts.facts.grid[1]
    last = (search.region.top + search.region.height - 1) * columns + search.region.left + search.region.width - 1
    passed = token_flops(transformer, last + 1)  # the class and all tokens before the region's last
    tokens, weights = counts.tokens("test"), len(controls.prior_weights)
    refreshed = -(-search.steps // controls.refresh_every)
    for name, cost in counts.extractors.items():
        soft = 2 * size * counts.facts.channels * counts.facts.codes
        yield Stage(
            "search_with_prior",
            name,
            1,
            samples=counts.searched * weights,
            flops=counts.searched * weights * (search.steps * (cost.search + soft) + refreshed * passed),
            read=counts.generator_bytes + tokens,
            written=counts.searched * weights * counts.records * size * 4,
        )
    # What the two published methods and those with a prior found, of every extractor; three references; images once.
    methods, references = len(counts.extractors) * (2 + weights), 3
    read = counts.searched * ((methods + references) * counts.records + 2)
    readers = [cost.forward for cost in counts.extractors.values()]
    readers += [counts.decode_flops + judge.forward for judge in counts.judges.values()]
    drawn = counts.searched * counts.records * size * passed
    yield Stage(
        "control_search",
        "",
        1,
        samples=read,
        flops=read * sum(readers) + drawn + counts.searched * (methods + references + 2) * 2 * passed,
        read=counts.generator_bytes + tokens,
        written=read * len(readers) * ROW,
    )


def _evaluation(config: Config, counts: Counts) -> Iterator[Stage]:
    images, shards = counts.samples("test"), counts.shards("test")
    tars, tokens = counts.tars("test"), counts.tokens("test")
    decoded = images * 3 * counts.side**2
    shown = tokens + decoded
    for name, cost in counts.extractors.items():
        yield Stage("extractor_accuracy", name, 1, images, images * cost.forward, read=tokens, written=images * ROW)
    if counts.judges:
        yield Stage("decode_images", "", shards, images, read=tars, written=decoded)
    for name, judge in counts.judges.items():
        yield Stage("judge_accuracy", name, 1, images, images * judge.forward, read=shown, written=images * ROW)
    readers = len(counts.extractors)
    found = counts.searched * (1 + 2 * counts.records)
    for level, masks in (
        ("image_level", len(METHODS) * len(config.evaluation.image_level.n)),
        ("concept_level", 1 + len(config.evaluation.concept_level.top_n)),
    ):
        for name, judge in counts.judges.items():
            yield Stage(
                level,
                name,
                readers * shards,
                samples=readers * images * (1 + masks),
                flops=readers * images * (1 + masks) * judge.forward,
                read=readers * shown,
                written=readers * images * masks * ROW,
            )
    for name, judge in counts.judges.items():
        yield Stage(
            "codebook_level",
            name,
            readers,
            samples=readers * found,
            flops=readers * found * (counts.decode_flops + judge.forward),
            read=readers * tokens,
            written=readers * counts.searched * 2 * 2 * ROW,
        )
    yield Stage("accuracy_metrics", "", 2)
    yield Stage("judged_metrics", "", 3)
    yield Stage("comparisons", "", 1)


def _planted(config: Config, counts: Counts) -> Iterator[Stage]:
    planted = config.planted
    if planted is None:
        return
    variants, search = len(planted.variants), config.codebook_search
    images = {split: variants * planted.classes * count for split, count in planted.per_class}
    shards = {split: count * counts.tokens(split) / counts.samples(split) for split, count in images.items()}
    packed = (images["train"] + images["validation"]) * (2 + 2 * counts.positions)
    drawn, vectors = sum(images.values()), variants * 4 * planted.codes * counts.facts.channels
    truth = drawn * (counts.positions + ROW)
    yield Stage("plant", "", variants, drawn, written=sum(shards.values()) + packed + truth + vectors)
    explained = images["validation"] + images["test"]
    searched = variants * planted.classes * planted.searched_per_class
    attributed = variants * planted.classes * planted.attributions.images_per_class
    for name, settings in planted.extractors.chosen().items():
        cost = extractor_cost(name, settings, counts.facts, planted.classes, counts.region)
        train, validation = settings.epochs * images["train"], settings.epochs * images["validation"]
        yield Stage(
            "train_planted",
            name,
            variants,
            samples=train,
            flops=train * cost.step + validation * cost.forward,
            read=packed,
            written=variants * cost.bytes,
        )
        soft = 2 * search.region.height * search.region.width * counts.facts.channels * planted.codes
        flops = explained * (config.importance.samples * cost.gradient + cost.forward)
        flops += attributed * attribution_flops(planted.attributions, cost, config.importance.samples, counts.positions)
        yield Stage(
            "explain_planted",
            name,
            variants,
            samples=explained + attributed + searched,
            flops=flops + searched * search.steps * (2 * cost.search + soft),
            read=shards["validation"] + shards["test"],
            written=explained * (4 * counts.positions + ROW),
        )
    yield Stage("planted_metrics", "", 1)


def _attributions(config: Config, counts: Counts) -> Iterator[Stage]:
    asked = config.controls.attributions
    if asked is None:
        return
    images = asked.images_per_class * len(counts.classes)
    share = images / counts.samples("test")  # shards go round the classes, and are read as far as the last image
    curves = 1 + len(asked.methods)
    for name, cost in counts.extractors.items():
        yield Stage(
            "attributions",
            name,
            1,
            samples=images,
            flops=images * attribution_flops(asked, cost, config.importance.samples, counts.positions),
            read=share * counts.tokens("test") + counts.scores("test"),
            written=share * curves * counts.scores("test"),
        )
    readers = len(counts.extractors)
    masks = curves * len(config.evaluation.image_level.n) + 1
    for name, judge in counts.judges.items():
        yield Stage(
            "judged_attributions",
            name,
            readers,
            samples=readers * images * (1 + masks),
            flops=readers * images * (1 + masks) * judge.forward,
            read=readers * (share * counts.tokens("test") + images * 3 * counts.side**2),
            written=readers * images * masks * ROW,
        )
    yield Stage("ranked_attributions", "", 1)


def _trust_controls(config: Config, counts: Counts) -> Iterator[Stage]:
    sanity, stability, combinations = config.controls.sanity, config.controls.stability, config.controls.combinations
    shuffled = sanity.shuffled if sanity is not None else []
    read = counts.tokens("test") + counts.scores("test")
    if shuffled:
        yield Stage("shuffle_labels", "", 1, read=counts.packed("train"), written=counts.packed("train"))
    for misled in shuffled:
        cost, images = counts.extractors[misled], config.extractors.chosen()[misled].epochs * counts.samples("train")
        flops = images * (cost.step + cost.forward)  # it validates on what it trains on
        yield Stage("train_shuffled", misled, 1, images, flops, read=counts.packed("train"), written=cost.bytes)
    for name, cost in counts.extractors.items():
        if sanity is not None:
            images = sanity.images_per_class * len(counts.classes) * (1 + cost.layers + (name in shuffled))
            flops = images * config.importance.samples * cost.gradient
            yield Stage("sanity", name, 1, images, flops, read=read, written=images * 3 * ROW)
        if stability is not None:
            images = stability.images_per_class * len(counts.classes)
            flops = images * (2 * max(stability.samples) + stability.reference) * cost.gradient
            rows = images * 2 * len(stability.samples) * (1 + len(stability.top_n))
            yield Stage("stability", name, 1, images, flops, read=read, written=rows * ROW)
        if combinations is not None:
            images = combinations.images_per_class * len(counts.classes)
            orders = 2 * combinations.pairs * (counts.positions + 1)
            greedy, single = counts.positions * max(combinations.n), counts.positions + 1
            flops = images * (orders + greedy + single + 5 * len(combinations.n)) * cost.forward
            rows = images * (3 + 19 * len(combinations.n))
            yield Stage("combinations", name, 1, images, flops, read=read, written=rows * ROW)
    asked = [section for section in (sanity, stability, combinations) if section is not None]
    if asked:
        yield Stage("control_metrics", "", len(asked))


def _bias(config: Config, counts: Counts) -> Iterator[Stage]:
    if (bias := config.bias) is None:
        return
    pairs, cost = len(bias.pairs), extractor_cost("cnn", bias.extractor, counts.facts, 2)
    train, validation = (2 * getattr(config.data.per_class, split) * pairs for split in ("train", "validation"))
    yield Stage("pack_grids", "(test)", 1, read=counts.tokens("test"), written=counts.packed("test"))
    packed = counts.packed("train") + counts.packed("validation")
    yield Stage(
        "train_pair",
        "",
        pairs,
        samples=bias.extractor.epochs * train,
        flops=bias.extractor.epochs * (train * cost.step + validation * cost.forward),
        read=pairs * packed,
        written=pairs * cost.bytes,
    )
    gradients = config.importance.samples * cost.gradient
    yield Stage("bias_tokens", "", pairs, samples=train, flops=train * gradients, read=pairs * counts.packed("train"))
    yield Stage("bias", "", 1, read=packed + counts.packed("test"))


# What this machine does


def product_rate(device: torch.device, least: float = 1.0) -> float:
    """FLOP a second of a large matrix product, for ``least`` seconds: bfloat16 on a GPU, float32 on a CPU."""
    gpu = device.type == "cuda"
    side = 8192 if gpu else 1024
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16 if gpu else torch.float32)
    return 2 * side**3 * _rate(lambda: a @ a, device, least)


def copy_rate(device: torch.device, least: float = 1.0) -> float:
    """Bytes a second, read and written, of copies within the device's memory, for ``least`` seconds."""
    source = torch.zeros((1 << 30 if device.type == "cuda" else 1 << 26) // 4, device=device)
    target = torch.zeros_like(source)
    return 2 * 4 * source.numel() * _rate(lambda: target.copy_(source), device, least)


def _rate(work: Callable[[], Tensor], device: torch.device, least: float) -> float:
    """Times a second that ``work`` is done."""
    wait = torch.cuda.synchronize if device.type == "cuda" else (lambda: None)
    work()
    wait()
    times, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < least or not times:
        for _ in range(4):
            work()
        wait()
        times += 4
    return times / passed

"""The cost of a run before it is paid: jobs by Snakemake's own count, the rest as the stages state it.

Arithmetic is counted on the networks that the config describes, without weights.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import torch
from rich import box
from rich.console import Console
from rich.table import Table

from cortex.app.rates import copy_rate, product_rate
from cortex.app.snakemake_internals import Job, planned_jobs
from cortex.app.workflow import read_config
from cortex.atlas import cost as atlas
from cortex.config import Config
from cortex.core.cost import Counts, GeneratorCost, Stage
from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.data import cost as data
from cortex.data.settings import SPLITS
from cortex.dictionary import cost as dictionary
from cortex.evaluate import cost as evaluate
from cortex.explain import cost as explain
from cortex.extractors import cost as extractors
from cortex.generators.load import load_family
from cortex.generators.spec import GeneratorSpec
from cortex.judges import cost as judges
from cortex.studies import STUDIES


@dataclass(frozen=True)
class Line:
    """A line of the plan: a stage and its number of jobs. Without cost, the rule states none."""

    stage: Stage
    jobs: int
    stated: bool = True


def print_plan(config: Path, *, flops: float | None = None, bandwidth: float | None = None) -> None:
    """Print what the run of a config costs, studies included: jobs, samples, FLOP, bytes of files, and time.

    Times are lower bounds: all jobs in sequence, at the full rate. Rates of GPUs are those of bfloat16; importance,
    searches and judges compute in float32 and take longer. Divide times by the number of GPUs. The plan reads only
    the shapes of the generator. It counts all files, whether they exist or not. A dash stands for a rule that states no
    cost, an empty cell for none, or for less than a tenth of a second.

    Args:
        config: config file of the run.
        flops: rate of the device in FLOP a second, such as 4e14; a large product is timed on this machine if not given.
        bandwidth: rate of its memory in bytes a second, such as 2.6e12; a copy is timed on this machine if not given.
    """
    for option, rate in (("flops", flops), ("bandwidth", bandwidth)):
        if rate is not None and not 0 < rate < math.inf:
            raise InputError(f"--{option} = {rate}: allowed: above 0, and finite")
    parsed, spec = read_config(config)
    counts = counts_of(parsed, spec)
    lines = list(with_jobs(list(stages_of(parsed, counts)), planned_jobs(config, "full")))
    origin = "as given"
    if flops is None or bandwidth is None:
        device = choose_device("auto")
        origin = f"measured on {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'the CPUs here'}"
        flops, bandwidth = flops or product_rate(device), bandwidth or copy_rate(device)
    print(f"{config}: run {parsed.run}, at {flops:.2g} FLOP and {bandwidth:.2g} bytes of memory a second, {origin}\n")
    print_table(lines, flops, bandwidth)
    kept = sum(line.stage.written for line in lines)
    if any(line.stage.rule == "generate_shard" for line in lines):
        print(f"\n{memory_line(parsed, spec, counts.generator)}")
    if any(cost.training_memory for cost in counts.extractors.values()):
        print(f"\n{training_line(counts)}")
    if unknown := [name for name, judge in counts.judges.items() if not judge.forward]:
        print(f"\nJudges whose arithmetic is not known and counted as 0: {', '.join(unknown)}.")
    print(f"\nAll that is written is kept: {amount(kept, 'B')} on disk. Times are a bound, one job after another.")


# Counting


def counts_of(config: Config, spec: GeneratorSpec) -> Counts:
    """What the stages' costs are counted with."""
    region, classes, image = config.codebook_search.region, config.classes(spec), 3 * prod(spec.image)
    return Counts(
        config=config,
        classes=len(classes),
        grid=spec.grid,
        codes=spec.codes,
        scales=spec.scales,
        channels=spec.channels,
        splits={
            split: data.split_size(split, config.data, config.generator.batch, classes, spec, image) for split in SPLITS
        },
        generator=_generator_cost(config, spec),
        extractors={
            name: extractors.extractor_cost(
                settings, spec.channels, len(spec.class_names), spec.grid, region.window, spec.scales
            )
            for name, settings in config.extractors.items()
        },
        judges={name: judges.judge_cost(settings) for name, settings in sorted(config.judges.items())},
    )


def _generator_cost(config: Config, spec: GeneratorSpec) -> GeneratorCost:
    """The generator's cost in the batches and the precision of the config; a guided grid is two rows of a batch."""
    generator = config.generator
    on_gpu = config.device.startswith("cuda") or (config.device == "auto" and torch.cuda.is_available())
    half = generator.precision == "bfloat16" or (generator.precision == "auto" and on_gpu)
    rows = generator.rows
    batch = rows * _drawn_at_once(config, spec)
    cost = load_family(generator.family).cost(generator.origin(), batch=batch, half=half)
    passes = rows * (generator.steps or 1)
    return replace(cost, sample_flops=passes * cost.sample_flops, sample_bytes=passes * cost.sample_bytes)


def _drawn_at_once(config: Config, spec: GeneratorSpec) -> int:
    """Images of a canonical batch."""
    batch = config.generator.batch
    return min(batch.classes, max(len(spec.class_names), 1)) * batch.indices


def memory_line(config: Config, spec: GeneratorSpec, cost: GeneratorCost) -> str:
    """What drawing a canonical batch holds of the device's memory, in words."""
    guided = ", two rows each for guidance," if config.generator.rows == 2 else ""
    return (
        f"Drawing {_drawn_at_once(config, spec)} images at once{guided} holds {amount(cost.sampling_memory, 'B')} of "
        f"the device's memory: weights, {'keys and values' if config.generator.steps is None else 'logits'}."
    )


def training_line(counts: Counts) -> str:
    """What the trainings of extractors hold of the device's memory, in words."""
    held = {name: cost.training_memory for name, cost in counts.extractors.items() if cost.training_memory}
    each = ", ".join(f"{name} {amount(memory, 'B')}" for name, memory in held.items())
    return f"Training an extractor holds, in float32, of the device's memory: {each}. A smaller batch needs less."


def stages_of(config: Config, counts: Counts) -> Iterator[Stage]:
    """The costs that all stages and studies state, in the order of the workflow."""
    for package in (data, extractors, judges, explain, evaluate, dictionary, atlas):
        yield from package.costs(counts)
    for name, study in config.chosen_studies().items():
        for stage in STUDIES.load(study.cost)(config.studies[name], counts) if study.cost else ():
            yield replace(stage, wildcards={"study": name, **stage.wildcards}) if stage.rule == "study" else stage


def with_jobs(stages: Sequence[Stage], jobs: Sequence[Job]) -> Iterator[Line]:
    """Every stage that has jobs, with their number, in the stages' order; then the rules that state no cost, by name.

    Parts of the same jobs have their number with the first part.
    """
    numbers, unstated = dict.fromkeys(range(len(stages)), 0), dict[str, int]()
    for job in jobs:
        found = next((number for number, stage in enumerate(stages) if _has(stage, job)), None)
        if found is None:
            unstated[job.rule] = unstated.get(job.rule, 0) + 1
        else:
            numbers[found] += 1
    with_any = {(stages[number].rule, *stages[number].wildcards.items()) for number, count in numbers.items() if count}
    for number, stage in enumerate(stages):
        if (stage.rule, *stage.wildcards.items()) in with_any:
            yield Line(stage, numbers[number])
    yield from (Line(Stage(rule), count, stated=False) for rule, count in sorted(unstated.items()))


def _has(stage: Stage, job: Job) -> bool:
    """Whether a job is one of the stage's."""
    return stage.rule == job.rule and all(
        f"{job.wildcards.get(name, '')}/".startswith(f"{value}/") for name, value in stage.wildcards.items()
    )


# Printing


def print_table(lines: Sequence[Line], flops: float, bandwidth: float) -> None:
    """Print the lines and their sum."""
    console = Console()
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, show_footer=True, pad_edge=False)
    cells = [_cells(line, flops, bandwidth) for line in lines]
    stages = [line.stage for line in lines]
    totals = [sum(getattr(stage, name) for stage in stages) for name in ("flops", "read", "written")]
    jobs, seconds = sum(line.jobs for line in lines), sum(stage.seconds(flops, bandwidth) for stage in stages)
    work, read, written = amount(totals[0]), amount(totals[1], "B"), amount(totals[2], "B")
    footers = ("total", str(jobs), "", work, "", read, written, duration(seconds))
    headers = ("stage", "jobs", "samples", "FLOP", "a sample", "read", "written", "time")
    for header, footer in zip(headers, footers, strict=True):
        table.add_column(header, footer, justify="left" if header == "stage" else "right", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    needed = console.measure(table, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, needed)  # a narrower terminal wraps lines; no number is cut
    console.print(table)


def _cells(line: Line, flops: float, bandwidth: float) -> tuple[str, ...]:
    stage = line.stage
    part = f"({stage.part})" if stage.part else ""
    name = " ".join(filter(None, [stage.rule, *stage.wildcards.values(), part]))
    if not line.stated:
        return name, str(line.jobs), "", "-", "", "", "", "-"
    return (
        name,
        f"{line.jobs or ''}",
        f"{stage.samples:,.0f}" if stage.samples else "",
        amount(stage.flops),
        amount(stage.flops / stage.samples) if stage.samples else "",
        amount(stage.read, "B"),
        amount(stage.written, "B"),
        duration(stage.seconds(flops, bandwidth)),
    )


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

"""Time and memory of a rehearsal by rule, and how they grow with the number of images."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Cost:
    """What the jobs of a command cost: how many, CPU time of all in seconds, and the largest memory of one in MB."""

    jobs: int = 0
    cpu: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True)
class Scale:
    """A run of so many images: the costs by command, and the CPU time of planning it, in seconds."""

    images: int
    costs: dict[str, Cost] = field(default_factory=dict)
    planning: float = 0.0


def read_scale(benchmarks: Path, images: int, planning: float) -> Scale:
    """What a run's jobs put on record of themselves."""
    costs: dict[str, Cost] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        for row in csv.DictReader(path.read_text().splitlines(), delimiter="\t"):
            cost = costs.setdefault(row["command"], Cost())
            cost.jobs += 1
            cost.cpu += float(row["cpu_seconds"])
            cost.memory = max(cost.memory, float(row["max_rss_mb"]))
    return Scale(images, costs, planning)


def exponent(smaller: Scale, larger: Scale, command: str) -> float | None:
    """By what power of the number of images a command's CPU time grows; None if it is not in both runs."""
    times = [scale.costs[command].cpu for scale in (smaller, larger) if command in scale.costs]
    return power(times, [smaller.images, larger.images]) if len(times) == 2 else None


def power(values: Sequence[float], images: Sequence[int]) -> float:
    """The power of the number of images by which a value grows from the first to the second."""
    return math.log(values[1] / values[0]) / math.log(images[1] / images[0])


def total(scale: Scale) -> Cost:
    """The cost of all commands together: the sum of times, the largest memory."""
    costs = scale.costs.values()
    return Cost(sum(cost.jobs for cost in costs), sum(cost.cpu for cost in costs), max(cost.memory for cost in costs))


def as_markdown(scales: Sequence[Scale]) -> str:
    """A table with a line for every command, the most expensive first; numbers of the scales stand side by side."""
    scales = [Scale(each.images, each.costs | {"all": total(each)}, each.planning) for each in scales]
    growing = len(scales) > 1
    lines = [["command", "jobs", "CPU seconds", *["exponent"] * growing, "largest memory, MB"]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    last = scales[-1].costs
    for command in sorted(last, key=lambda name: (name == "all", -last[name].cpu)):
        found = [scale.costs.get(command, Cost()) for scale in scales]
        jobs, cpu, memory = (_beside([getattr(cost, name) for cost in found]) for name in ("jobs", "cpu", "memory"))
        grown = exponent(scales[-2], scales[-1], command) if growing else None
        lines.append([command, jobs, cpu, *["" if grown is None else f"{grown:.2f}"] * growing, memory])
    lines.append(["planning", "", _beside([scale.planning for scale in scales]), *[""] * growing, ""])
    images = _beside([scale.images for scale in scales])
    return "\n".join([f"Images: {images}", "", *("| " + " | ".join(line) + " |" for line in lines), ""])


def _beside(numbers: Sequence[float]) -> str:
    return " / ".join(f"{number:,.0f}" if number >= 10 else f"{number:.2g}" for number in numbers)

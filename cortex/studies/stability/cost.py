"""What the study of stability costs."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.studies.stability.settings import Stability


def costs(settings: Stability, counts: Counts) -> Iterator[Stage]:
    """Scores of two sets of noise, and of the reference."""
    gradients = 2 * max(settings.samples) + settings.reference
    rows = 2 * len(settings.samples) * (1 + len(settings.top_n))
    for name, cost in counts.extractors.items():
        images = cost.trainings * settings.images_per_class * counts.classes
        yield Stage(
            "study",
            {"extractor": name},
            samples=images,
            flops=images * gradients * cost.gradient,
            read=cost.trainings * counts.splits["test"].scores,
            written=images * rows * ROW,
        )

"""What the study of combinations costs."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.studies.combinations.settings import Combinations


def costs(settings: Combinations, counts: Counts) -> Iterator[Stage]:
    """Forward passes without tokens: in random orders, one by one, greedily, and of the sets that are compared."""
    orders = 2 * settings.pairs * (counts.positions + 1)
    greedy, single = counts.positions * max(settings.n), counts.positions + 1
    passes = orders + greedy + single + 5 * len(settings.n)
    for name, cost in counts.extractors.items():
        images = cost.trainings * settings.images_per_class * counts.classes
        yield Stage(
            "study",
            {"extractor": name},
            samples=images,
            flops=images * passes * cost.forward,
            read=cost.trainings * counts.splits["test"].scores,
            written=images * (3 + 19 * len(settings.n)) * ROW,
        )

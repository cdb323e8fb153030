"""What the study of scales costs."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.studies.scales.settings import Scales


def costs(settings: Scales, counts: Counts) -> Iterator[Stage]:
    """Decoding and judging images without tokens: of a scale, of finer scales, important ones, random ones."""
    sets = 2 * len(counts.scales) - 1 + 2 * len(settings.n)
    judged = sum(judge.forward for judge in counts.judges.values())
    images = settings.images_per_class * counts.classes
    for name, cost in counts.extractors.items():
        decoded = cost.trainings * images * (1 + sets)
        rows = images * (sets * len(counts.judges) + len(counts.scales) * len(settings.n))
        yield Stage(
            "ablated_scales",
            {"extractor": name},
            samples=decoded,
            flops=decoded * (counts.generator.decode_flops + judged),
            read=cost.trainings * counts.splits["test"].scores,
            written=cost.trainings * rows * ROW,
        )

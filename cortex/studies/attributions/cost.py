"""What the study of other attributions costs."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.explain import TIS
from cortex.explain.cost import attribution_flops
from cortex.studies.attributions.settings import Attributions


def costs(settings: Attributions, counts: Counts) -> Iterator[Stage]:
    """Attributions by every extractor, judged as the importance is."""
    config, test = counts.config, counts.splits["test"]
    images = settings.images_per_class * counts.classes
    methods = list(dict.fromkeys([TIS, *settings.methods]))
    share, curves = images / test.samples, len(methods)
    for name, cost in counts.extractors.items():
        flops = attribution_flops(methods, cost, config.importance, counts.positions)
        yield Stage(
            "attributions",
            {"extractor": name},
            samples=cost.trainings * images,
            flops=cost.trainings * images * flops,
            read=cost.trainings * test.tables,
            written=cost.trainings * share * curves * test.scores,
        )
    masks = curves * len(config.evaluation.image_level.n) + 1
    for name, judge in counts.judges.items():
        judged = counts.trained * images * (1 + masks)
        yield Stage(
            "judged_attributions",
            {"judge": name},
            samples=judged,
            flops=judged * judge.forward,
            read=counts.trained * share * (test.tables + test.pixels),
            written=counts.trained * images * masks * ROW,
        )

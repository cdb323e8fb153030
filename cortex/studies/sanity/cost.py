"""What the randomisation tests cost."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.explain.cost import attribution_flops
from cortex.extractors.cost import training_flops
from cortex.studies.sanity.randomise import weight_layers
from cortex.studies.sanity.settings import Sanity


def costs(settings: Sanity, counts: Counts) -> Iterator[Stage]:
    """Trainings on shuffled labels, and scores of extractors with randomised weights, layer by layer."""
    config, train, test = counts.config, counts.splits["train"], counts.splits["test"]
    yield Stage("shuffle_labels", read=train.packed, written=train.packed)
    for name in settings.shuffled:
        cost, recipe = counts.extractors[name], config.extractors[name]
        yield Stage(
            "train_shuffled",
            {"extractor": name},
            samples=cost.trainings * recipe.epochs * train.samples,
            # It validates on the images that it trains on.
            flops=cost.trainings * training_flops(recipe, cost, train.samples, train.samples),
            read=cost.trainings * train.packed,
            written=cost.trainings * cost.bytes,
        )
    for name, cost in counts.extractors.items():
        tests = 1 + len(weight_layers(cost.network)) + (name in settings.shuffled)
        images = cost.trainings * settings.images_per_class * counts.classes * tests
        yield Stage(
            "study",
            {"extractor": name},
            samples=images,
            flops=images * attribution_flops(config.importance.method[:1], cost, config.importance, counts.positions),
            read=cost.trainings * test.scores,
            written=images * 3 * ROW,
        )

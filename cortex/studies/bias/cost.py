"""What the study of bias costs."""

from collections.abc import Iterator

from cortex.core.cost import Counts, Stage
from cortex.extractors.cost import extractor_cost, training_flops
from cortex.studies.bias.settings import Bias


def costs(settings: Bias, counts: Counts) -> Iterator[Stage]:
    """The groups; an extractor for every two of them, its tokens, and their counts in the neutral images."""
    named, recipe, sizes = settings.names(), settings.extractor, counts.splits
    cost = extractor_cost(recipe, counts.channels, 2, counts.grid, scales=counts.scales)
    of_groups = {
        split: 2 * (images if settings.property is None else images // 3 * counts.classes) * len(named)
        for split, images in counts.config.data.per_class
    }
    packed = {split: size.packed for split, size in sizes.items()}
    image = packed["train"] / sizes["train"].samples
    grouped = (of_groups["train"] + of_groups["validation"]) * image
    if settings.property is None:
        yield Stage("group_classes", read=len(named) * sum(packed.values()), written=grouped)
    else:
        yield from _property_costs(counts)
        yield Stage("group_by_property", read=sum(packed.values()), written=grouped)
    yield Stage(
        "train_groups",
        samples=recipe.epochs * of_groups["train"],
        flops=training_flops(recipe, cost, of_groups["train"], of_groups["validation"]),
        read=grouped,
        written=len(named) * cost.bytes,
    )
    yield Stage(
        "bias_tokens",
        samples=of_groups["train"],
        flops=of_groups["train"] * counts.config.importance.samples * cost.gradient,
        read=of_groups["train"] * image,
    )
    yield Stage("bias", read=len(named) * sum(packed.values()))


def _property_costs(counts: Counts) -> Iterator[Stage]:
    """Images are read, or decoded where the shards have none."""
    for split, kept in counts.config.data.images:
        size = counts.splits[split]
        flops = size.samples * counts.generator.decode_flops if kept == "none" else 0
        yield Stage("measure_property", {"split": split}, samples=size.samples, flops=flops, read=size.tars)
    yield Stage("draw_bias_property", read=counts.splits["test"].tars)

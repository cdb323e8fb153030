"""What the study of bias costs."""

from collections.abc import Iterator

from cortex.core.cost import Counts, Stage
from cortex.extractors.cost import extractor_cost, training_flops
from cortex.studies.bias.settings import Bias


def costs(settings: Bias, counts: Counts) -> Iterator[Stage]:
    """An extractor for every pair, its tokens, and their counts in the test images."""
    pairs, recipe = len(settings.pairs), settings.extractor
    cost = extractor_cost(recipe, counts.channels, 2, counts.grid)
    of_pairs = {split: 2 * count * pairs for split, count in counts.config.data.per_class}
    sizes = counts.splits
    packed = sizes["train"].packed + sizes["validation"].packed
    yield Stage(
        "train_pair",
        samples=recipe.epochs * of_pairs["train"],
        flops=training_flops(recipe, cost, of_pairs["train"], of_pairs["validation"]),
        read=pairs * packed,
        written=pairs * cost.bytes,
    )
    yield Stage(
        "bias_tokens",
        samples=of_pairs["train"],
        flops=of_pairs["train"] * counts.config.importance.samples * cost.gradient,
        read=pairs * sizes["train"].packed,
    )
    yield Stage("bias", read=packed + sizes["test"].packed)

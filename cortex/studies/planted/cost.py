"""What the planted benchmark costs."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, ExtractorCost, Stage
from cortex.explain import TIS
from cortex.explain.cost import attribution_flops, searched_positions, soft_flops
from cortex.extractors.cost import extractor_cost, training_flops
from cortex.studies.planted.settings import Planted


def costs(settings: Planted, counts: Counts) -> Iterator[Stage]:
    """Planting, and training and explaining extractors of every variant."""
    variants, sizes = len(settings.variants), counts.splits
    images = {split: variants * settings.classes * count for split, count in settings.per_class}
    share = {split: count / sizes[split].samples for split, count in images.items()}
    tables = {split: share[split] * sizes[split].tables for split in images}
    packed = sum(share[split] * sizes[split].packed for split in ("train", "validation"))
    shards = sum(share[split] * sizes[split].members for split in images)
    vectors = variants * 4 * settings.codes * counts.channels
    truth = sum(images.values()) * (counts.positions + ROW)
    written = shards + sum(tables.values()) + packed + truth + vectors
    yield Stage("plant", samples=sum(images.values()), written=written)
    yield Stage("planted_kinds", read=share["train"] * sizes["train"].packed, written=4 * variants * ROW)
    window = counts.config.codebook_search.region.window
    for name, recipe in settings.extractors.items():
        cost = extractor_cost(recipe, counts.channels, settings.classes, counts.grid, window)
        yield Stage(
            "train_planted",
            {"extractor": name},
            samples=cost.trainings * recipe.epochs * images["train"],
            flops=cost.trainings * training_flops(recipe, cost, images["train"], images["validation"]),
            read=cost.trainings * packed,
            written=cost.trainings * variants * cost.bytes,
        )
        explained = images["validation"] + images["test"]
        yield _explaining(settings, counts, name, cost, explained, tables["validation"] + tables["test"])


def _explaining(
    settings: Planted, counts: Counts, name: str, cost: ExtractorCost, explained: int, read: float
) -> Stage:
    config, search = counts.config, counts.config.codebook_search
    grids, asked = len(settings.variants) * settings.classes, settings.attributions
    attributed, searched = grids * asked.images_per_class, grids * settings.searched_per_class
    flops = explained * (attribution_flops([TIS], cost, config.importance, counts.positions) + cost.forward)
    methods = list(dict.fromkeys([TIS, *asked.methods]))
    flops += attributed * attribution_flops(methods, cost, config.importance, counts.positions)
    soft = soft_flops(searched_positions(counts), counts.channels, settings.codes)
    flops += searched * search.steps * (2 * cost.search + soft)
    return Stage(
        "explain_planted",
        {"extractor": name},
        samples=cost.trainings * (explained + attributed + searched),
        flops=cost.trainings * flops,
        read=cost.trainings * read,
        written=cost.trainings * explained * (6 * counts.positions + ROW),
    )

"""What explanations cost: importance, concept-level tokens, attributions, codebook search."""

from collections.abc import Iterator, Sequence
from itertools import product

from cortex.core.cost import Counts, ExtractorCost, Stage
from cortex.data.layout import Layout
from cortex.explain import TIS
from cortex.explain.settings import CodebookSearch, Explainers, Importance, SearchOptimisation


def attribution_flops(methods: Sequence[str], cost: ExtractorCost, settings: Importance, positions: int) -> float:
    """FLOP of an image's attributions.

    Args:
        methods: their names; one of another package is counted as one gradient.
        cost: the extractor's.
        settings: noisy copies, and steps of the integral, for methods that take them.
        positions: of a grid.
    """
    gradients = {TIS: settings.samples, "smoothgrad_mean": settings.samples, "integrated_gradients": settings.steps}
    gradients |= {"occlusion": 0, "random": 0}
    passes = {"occlusion": 1 + positions}
    return sum(gradients.get(method, 1) * cost.gradient + passes.get(method, 0) * cost.forward for method in methods)


def searched_images(search: CodebookSearch) -> int:
    """Images of a codebook search."""
    return len(search.pairs) * search.images_per_class


def records(search: SearchOptimisation) -> int:
    """Steps that a search records."""
    return -(-search.steps // search.record_every)


def soft_flops(positions: int, channels: int, codes: int) -> float:
    """FLOP of the gradient of a region's positions against all codes that they can hold, or of distances to these."""
    return 2 * positions * channels * codes


def searched_positions(counts: Counts) -> int:
    """Positions of the searched region."""
    region = counts.config.codebook_search.region
    return len(Layout(counts.grid, counts.scales).inside(*region.window))


def costs(counts: Counts) -> Iterator[Stage]:
    """Importance, concept-level tokens, frequent tokens and codebook searches."""
    yield from _importance(counts)
    train = counts.splits["train"]
    yield Stage("frequent_tokens", read=train.packed)
    search, images = counts.config.codebook_search, searched_images(counts.config.codebook_search)
    positions = searched_positions(counts)
    soft = soft_flops(positions, counts.channels, counts.codes // max(len(counts.scales), 1))
    for name, cost in counts.extractors.items():
        found = cost.trainings * images
        yield Stage(
            "codebook_search",
            {"extractor": name},
            samples=found,
            flops=found * (search.steps * (2 * cost.search + soft) + records(search) * soft),  # snapped when recorded
            read=cost.trainings * counts.splits["test"].tables,
            written=found * 2 * records(search) * positions * 4,
        )


def _importance(counts: Counts) -> Iterator[Stage]:
    explained = [counts.splits[split] for split in ("train", "test")]
    images = sum(size.samples for size in explained)
    settings: Explainers = counts.config.importance
    for method, (name, cost) in product(settings.method, counts.extractors.items()):
        of = {"attribution": method, "extractor": name}
        flops = attribution_flops([method], cost, settings, counts.positions) + cost.forward
        yield Stage(
            "importance",
            of,
            samples=cost.trainings * images,
            flops=cost.trainings * images * flops,
            read=cost.trainings * sum(size.tables for size in explained),
            written=cost.trainings * sum(size.scores for size in explained),
        )
        scores, averages = sum(size.scores for size in explained), counts.averages(name)
        if averages:
            averaged = {"attribution": method, "name": name}
            yield Stage("average_importance", averaged, read=cost.trainings * scores, written=scores)
        listed = cost.trainings + averages
        yield Stage("concept_tokens", of, read=listed * counts.splits["train"].scores)

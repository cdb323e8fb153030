"""What the evaluation by judges costs, level by level."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.evaluate.image_level import METHODS
from cortex.explain.concept_tokens import LISTS
from cortex.explain.cost import records, searched_images


def costs(counts: Counts) -> Iterator[Stage]:
    """Accuracies, and the three levels."""
    test = counts.splits["test"]
    images, rows = test.samples, test.samples * ROW
    for name, cost in counts.extractors.items():
        yield Stage(
            "extractor_accuracy",
            {"extractor": name},
            samples=cost.trainings * images,
            flops=cost.trainings * images * cost.forward,
            read=cost.trainings * test.tables,
            written=cost.trainings * rows,
        )
    for name, judge in counts.judges.items():
        read, flops = test.tables + test.pixels, images * judge.forward
        yield Stage("judge_accuracy", {"judge": name}, samples=images, flops=flops, read=read, written=rows)
    evaluation, concepts = counts.config.evaluation, counts.config.evaluation.concept_level
    yield from _masking(counts, "image_level", len(METHODS) * len(evaluation.image_level.n), test.scores)
    masks = (
        len(LISTS) * (1 + len(concepts.top_n)) * (1 + len(concepts.areas))
    )  # with frequent tokens, and fixed numbers
    yield from _masking(counts, "concept_level", masks, test.tables)
    yield from _search(counts)


def _masking(counts: Counts, level: str, masks: int, tokens: float) -> Iterator[Stage]:
    """A level that judges every image of the test split, whole and masked, of files of so many bytes of tokens."""
    test = counts.splits["test"]
    explained = counts.explainers * len(counts.config.importance.method)
    for name, judge in counts.judges.items():
        judged = explained * test.samples * (1 + masks)
        yield Stage(
            level,
            {"judge": name},
            samples=judged,
            flops=judged * judge.forward,
            read=explained * (tokens + test.pixels),
            written=explained * test.samples * masks * ROW,
        )


def _search(counts: Counts) -> Iterator[Stage]:
    """What the codebook searches found by both methods, decoded and judged."""
    search, images = counts.config.codebook_search, searched_images(counts.config.codebook_search)
    for name, judge in counts.judges.items():
        judged = counts.trained * images * (1 + 2 * records(search))
        yield Stage(
            "codebook_level",
            {"judge": name},
            samples=judged,
            flops=judged * (counts.generator.decode_flops + judge.forward),
            read=counts.trained * counts.splits["test"].tables,
            written=counts.trained * images * 2 * 2 * ROW,
        )

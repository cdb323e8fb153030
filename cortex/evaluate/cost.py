"""What the evaluation by judges costs, level by level."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.evaluate.image_level import METHODS
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
    evaluation = counts.config.evaluation
    masks = len(METHODS) * len(evaluation.image_level.n)
    yield from _masking(counts, "image_level", masks, test.scores)
    yield from _masking(counts, "concept_level", 1 + len(evaluation.concept_level.top_n), test.tables)
    yield from _search(counts)


def _masking(counts: Counts, level: str, masks: int, tokens: float) -> Iterator[Stage]:
    """A level that judges every image of the test split, whole and masked, of files of so many bytes of tokens."""
    test = counts.splits["test"]
    for name, judge in counts.judges.items():
        judged = counts.trained * test.samples * (1 + masks)
        yield Stage(
            level,
            {"judge": name},
            samples=judged,
            flops=judged * judge.forward,
            read=counts.trained * (tokens + test.pixels),
            written=counts.trained * test.samples * masks * ROW,
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

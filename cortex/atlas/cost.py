"""What the atlas costs."""

from collections.abc import Iterator

from cortex.atlas.codes import CLASSES
from cortex.core.cost import Counts, Stage

ROWS_IN_TEXT = 300  # bytes of a row of the dictionary in a part
SCORE = 6  # bytes of a position's score
LIBRARIES = 2.2e6  # bytes of the front-end libraries


def costs(counts: Counts) -> Iterator[Stage]:
    """The order of the codes, the searched images, and the parts."""
    config, test = counts.config, counts.splits["test"]
    sampled = counts.classes * min(config.atlas.images_per_class, config.data.per_class.test)
    methods, share = len(config.importance.method) * len(counts.extractors), sampled / test.samples
    searched = min(len(config.codebook_search.pairs) * config.atlas.images_per_class, sampled)
    rows = counts.codes * min(CLASSES, counts.classes)
    scores = sampled * methods * counts.positions * SCORE
    yield Stage(
        "atlas",
        samples=sampled,
        flops=2 * len(counts.extractors) * searched * counts.generator.decode_flops,
        read=test.tables + share * test.pixels + methods * test.scores,
        written=LIBRARIES + 2 * rows * ROWS_IN_TEXT + scores + share * test.pixels,
    )

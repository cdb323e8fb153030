"""What the dictionary of the codebook costs."""

from collections.abc import Iterator
from itertools import product

from cortex.core.cost import ROW, Counts, Stage

ROWS = 200  # bytes of a row of the dictionary, compressed
VARIANTS = 3  # of every sampled image: as it is, with the code masked or placed, and the random control


def costs(counts: Counts) -> Iterator[Stage]:
    """Importance of codes, patches, causes, and the two tables."""
    config, train, test = counts.config, counts.splits["train"], counts.splits["test"]
    pairs = counts.classes * counts.codes
    for method, (name, cost) in product(config.importance.method, counts.extractors.items()):
        of = {"attribution": method, "name": name}
        yield Stage("mean_importance", of, read=cost.trainings * train.scores, written=min(pairs, train.samples) * ROW)
    yield Stage("describe_patches", read=2 * (test.tables + test.pixels), written=counts.codes * 3 * ROW)
    yield Stage("choose_pairs", read=train.packed, written=config.dictionary.causes.pairs * ROW)
    judged = VARIANTS * sampled(counts)
    for name, judge in counts.judges.items():
        rows = 2 * sampled(counts) * ROW
        masking, placing = judged * judge.forward, judged * (counts.generator.decode_flops + judge.forward)
        of, pixels = {"judge": name}, test.pixels * sampled(counts) / test.samples
        yield Stage("mask_codes", of, samples=judged, flops=masking, read=test.tables + pixels, written=rows)
        yield Stage("place_codes", of, samples=judged, flops=placing, read=test.tables, written=rows)
    heat = 4 * counts.codes * counts.positions
    yield Stage("describe_codes", flops=2 * counts.codes**2 * counts.channels, read=train.packed, written=heat)
    yield Stage("dictionary", read=train.packed, written=min(pairs, config.dictionary.rows) * ROWS)


def sampled(counts: Counts) -> int:
    """Sampled images of all pairs of a class and a code, at most."""
    causes, config = counts.config.dictionary.causes, counts.config
    listed = counts.classes * min(config.concept_tokens.tokens, counts.codes)
    marking = counts.codes  # of each code one class
    return min(causes.pairs, marking + listed) * min(causes.images_per_pair, config.data.per_class.test)

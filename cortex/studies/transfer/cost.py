"""What the study of transfer costs."""

from collections.abc import Iterator

from cortex.core.cost import ROW, Counts, Stage
from cortex.explain.cost import records, searched_images, searched_positions, soft_flops
from cortex.studies.transfer.settings import Transfer


def costs(settings: Transfer, counts: Counts) -> Iterator[Stage]:
    """Searches with the prior, and all that was found, read by all extractors, judges and the prior."""
    search, generator = counts.config.codebook_search, counts.generator
    images, recorded, weights = searched_images(search), records(search), len(settings.prior_weights)
    passed = max(search.region.positions(counts.grid[1])) + 1  # the class and all tokens before the region's last
    prior = generator.prior_flops[passed] if generator.prior_flops else 0
    size, test = search.region.height * search.region.width, counts.splits["test"]
    soft = soft_flops(searched_positions(counts), counts.channels, counts.codes)
    refreshed = -(-search.steps // settings.refresh_every)
    read = generator.weights_bytes + test.tables
    for name, cost in counts.extractors.items():
        searched = cost.trainings * images * weights
        yield Stage(
            "search_with_prior",
            {"extractor": name},
            samples=searched,
            flops=searched * (search.steps * (cost.search + soft) + refreshed * prior),
            read=cost.trainings * read,
            written=searched * recorded * size * 4,
        )
    # The two published methods and those with a prior, of every extractor; three references; images once.
    methods, references = counts.trained * (2 + weights), 3
    shown = images * ((methods + references) * recorded + 2)
    readers = sum(cost.trainings * cost.forward for cost in counts.extractors.values())
    readers += sum(generator.decode_flops + judge.forward for judge in counts.judges.values())
    drawn = images * recorded * size * counts.config.generator.rows * prior
    yield Stage(
        "transfer",
        samples=shown,
        flops=shown * readers + drawn + images * (methods + references + 2) * 2 * prior,
        read=read,
        written=shown * (counts.trained + len(counts.judges)) * ROW,
    )

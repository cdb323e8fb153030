"""Transfer of codebook searches to other extractors, the judges and the generator's prior."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cortex.generators.spec import GeneratorSpec
from cortex.studies.base import Study
from cortex.studies.transfer.settings import Transfer


def _checks(settings: Transfer, config: Any, spec: GeneratorSpec) -> Iterator[str]:
    if settings.prior_weights and not spec.prior:
        yield f"prior_weights = {settings.prior_weights}: should be [], as the generator has no prior"
    if settings.refresh_every > (steps := config.codebook_search.steps):
        yield f"refresh_every = {settings.refresh_every}: at most codebook_search.steps = {steps}"


STUDY = Study(
    settings=Transfer,
    needs=frozenset({"extractors", "judges", "decoder", "one scale"}),
    checks=_checks,
    rules=Path(__file__).parent / "rules.smk",
    commands={
        "search-with-prior": (
            "cortex.studies.transfer.prior:search_with_prior",
            "search the codebook with the generator's prior",
        ),
        "measure-transfer": (
            "cortex.studies.transfer.measure:measure_transfer",
            "measure the transfer of codebook searches",
        ),
    },
    cost="cortex.studies.transfer.cost:costs",
    page="cortex.studies.transfer.page:section",
    order=50,
)

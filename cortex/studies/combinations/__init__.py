"""Combinations: effects of removing several tokens at once, beside Shapley values (METHOD.md, section 9)."""

from collections.abc import Iterator
from typing import Any

from cortex.generators.spec import GeneratorSpec
from cortex.studies.base import Study
from cortex.studies.checks import at_most_positions, enough_images
from cortex.studies.combinations.settings import Combinations


def _checks(settings: Combinations, config: Any, spec: GeneratorSpec) -> Iterator[str]:
    yield from enough_images(settings, config)
    yield from at_most_positions("n", settings.n, spec)


STUDY = Study(
    settings=Combinations,
    rows="cortex.studies.combinations.removal:rows",
    by=("measure", "method", "n"),
    checks=_checks,
    cost="cortex.studies.combinations.cost:costs",
    page="cortex.studies.combinations.page:section",
    order=40,
)

"""Stability of the token importance score (tis) over noise seeds and sample counts."""

from collections.abc import Iterator
from typing import Any

from cortex.generators.spec import GeneratorSpec
from cortex.studies.base import Study
from cortex.studies.checks import at_most_positions, enough_images
from cortex.studies.stability.settings import Stability


def _checks(settings: Stability, config: Any, spec: GeneratorSpec) -> Iterator[str]:
    yield from enough_images(settings, config)
    yield from at_most_positions("top_n", settings.top_n, spec)


STUDY = Study(
    settings=Stability,
    rows="cortex.studies.stability.noise:rows",
    by=("samples", "other_samples", "measure", "n"),
    checks=_checks,
    cost="cortex.studies.stability.cost:costs",
    page="cortex.studies.stability.page:section",
    stated={"copies": "importance.samples"},
    order=30,
)

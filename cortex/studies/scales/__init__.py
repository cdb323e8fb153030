"""Scales: what coarse and what fine tokens carry, by ablation of their contributions (METHOD.md, section 11)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cortex.generators.spec import GeneratorSpec
from cortex.studies.base import Study
from cortex.studies.checks import at_most_positions, enough_images
from cortex.studies.scales.settings import Scales


def _checks(settings: Scales, config: Any, spec: GeneratorSpec) -> Iterator[str]:
    yield from enough_images(settings, config)
    yield from at_most_positions("n", settings.n, spec)


STUDY = Study(
    settings=Scales,
    needs=frozenset({"extractors", "judges", "decoder", "scales"}),
    checks=_checks,
    rules=Path(__file__).parent / "rules.smk",
    commands={
        "ablate-scales": (
            "cortex.studies.scales.ablate:ablate_scales",
            "judge images without the contributions of some tokens",
        ),
    },
    cost="cortex.studies.scales.cost:costs",
    page="cortex.studies.scales.page:section",
    order=5,
)

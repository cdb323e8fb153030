"""The planted benchmark: synthetic grids with known ground truth for token importance (METHOD.md, section 9)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cortex.generators.spec import GeneratorSpec
from cortex.studies.base import Study
from cortex.studies.planted.settings import Planted, needed_positions


def _checks(settings: Planted, config: Any, spec: GeneratorSpec) -> Iterator[str]:
    positions = spec.grid[0] * spec.grid[1]
    for variant in settings.variants:
        needed = needed_positions(variant, settings.classes, settings.positions)
        if needed > positions:
            yield (
                f"positions = {settings.positions}: with {settings.classes} classes, {variant} takes {needed} "
                f"positions; the grid has {positions}"
            )


STUDY = Study(
    settings=Planted,
    needs=frozenset({"one scale"}),
    checks=_checks,
    rules=Path(__file__).parent / "rules.smk",
    commands={
        "plant": ("cortex.studies.planted.plant:plant", "draw grids with known ground truth"),
        "explain-planted": (
            "cortex.studies.planted.explain:explain_planted",
            "explain planted grids as a run explains its own",
        ),
        "measure-planted": (
            "cortex.studies.planted.measure:measure_planted",
            "compare explanations with the ground truth",
        ),
        "score-kinds": ("cortex.studies.planted.kinds:score_kinds", "compare kinds of codes with the ground truth"),
    },
    cost="cortex.studies.planted.cost:costs",
    page="cortex.studies.planted.page:section",
    tables={"recommended": "studies/planted/recommended.parquet", "kinds": "studies/planted/kinds.parquet"},
    order=60,
)

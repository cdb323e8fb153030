"""Bias: does a neutral set of images lean to one of two groups (METHOD.md, section 7)?"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cortex.core.messages import shown_value
from cortex.generators.spec import GeneratorSpec
from cortex.studies.base import Study
from cortex.studies.bias.settings import Bias
from cortex.studies.checks import at_most_positions


def _checks(settings: Bias, config: Any, spec: GeneratorSpec) -> Iterator[str]:
    classes = config.classes(spec)
    named = [(f"pairs.{first}", second, label) for first, second in settings.pairs.items() for label in (first, second)]
    named += [("neutral", settings.neutral, settings.neutral)] if settings.neutral is not None else []
    for key, value, label in named:
        if label not in classes:
            yield f"{key} = {value}: class {label} is not among the run's {shown_value(classes)}"
        elif key.startswith("pairs") and label == settings.neutral:
            yield f"{key} = {value}: class {label} is the neutral one"
    yield from at_most_positions("top_n", [settings.top_n], spec)
    if settings.tokens > spec.codes:
        yield f"tokens = {settings.tokens}: at most {spec.codes}, the codes of the codebook"
    for split in ("validation", "test"):
        if (images := getattr(config.data.per_class, split)) < 2:
            yield f"pairs = {settings.pairs}: intervals need data.per_class.{split} of at least 2; it is {images}"


STUDY = Study(
    settings=Bias,
    needs=frozenset(),
    checks=_checks,
    rules=Path(__file__).parent / "rules.smk",
    commands={
        "bias-tokens": (
            "cortex.studies.bias.tokens:find_group_tokens",
            "find the concept-level tokens of two groups",
        ),
        "bias": (
            "cortex.studies.bias.effect:measure_bias",
            "measure the lean of neutral images to one of two groups",
        ),
    },
    cost="cortex.studies.bias.cost:costs",
    page="cortex.studies.bias.page:section",
    order=70,
)

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
    yield from _class_checks(settings, config.classes(spec))
    yield from at_most_positions("top_n", [settings.top_n], spec)
    if settings.tokens > spec.codes:
        yield f"tokens = {settings.tokens}: at most {spec.codes}, the codes of the codebook"
    if settings.property is not None and not spec.decodes and "none" in dict(config.data.images).values():
        needed = "a generator that decodes images, or given pictures of all splits"
        yield f"property = {shown_value(settings.property)}: it needs {needed}"
    key, fewest = ("property", 6) if settings.property is not None else ("pairs", 2)  # two images in a third of a class
    for split in ("validation", "test"):
        if (images := getattr(config.data.per_class, split)) < fewest:
            value = shown_value(getattr(settings, key))
            yield f"{key} = {value}: intervals need data.per_class.{split} of at least {fewest}; it is {images}"


def _class_checks(settings: Bias, classes: list[int]) -> Iterator[str]:
    """Classes of the groups and of neutral images that the run has not, or that are both."""
    pairs = (settings.pairs or {}).items()
    named = [(f"pairs.{first}", second, label) for first, second in pairs for label in (first, second)]
    named += [("neutral", settings.neutral, settings.neutral)] if settings.neutral is not None else []
    for key, value, label in named:
        if label not in classes:
            yield f"{key} = {value}: class {label} is not among the run's {shown_value(classes)}"
        elif key.startswith("pairs") and label == settings.neutral:
            yield f"{key} = {value}: class {label} is the neutral one"


STUDY = Study(
    settings=Bias,
    needs=frozenset(),
    checks=_checks,
    rules=Path(__file__).parent / "rules.smk",
    commands={
        "group-classes": (
            "cortex.studies.bias.groups:group_classes",
            "group images by class",
        ),
        "measure-property": (
            "cortex.studies.bias.measure:measure_property",
            "measure a property of a shard's images",
        ),
        "group-by-property": (
            "cortex.studies.bias.groups:group_by_property",
            "group the images of every class by a property",
        ),
        "draw-property": (
            "cortex.studies.bias.figure:draw_property",
            "draw images with least and most of a property",
        ),
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
    stated={"property_name": "studies.bias.property"},
    figures=lambda settings: () if settings.property is None else ("bias_property",),
    order=70,
)

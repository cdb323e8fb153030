"""Checks of a study's settings against the rest of a run that several studies share."""

from collections.abc import Iterable, Iterator
from typing import Any

from cortex.generators.spec import GeneratorSpec


def enough_images(settings: Any, config: Any) -> Iterator[str]:
    """A problem if ``images_per_class`` is more than the test split has."""
    if settings.images_per_class > (most := config.data.per_class.test):
        yield f"images_per_class = {settings.images_per_class}: at most data.per_class.test = {most}"


def at_most_positions(key: str, counts: Iterable[int], spec: GeneratorSpec) -> Iterator[str]:
    """A problem for every count of positions that is more than a grid has."""
    positions = spec.grid[0] * spec.grid[1]
    for count in counts:
        if count > positions:
            yield f"{key} = {count}: at most {positions}, the positions of the grid"

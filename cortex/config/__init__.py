"""The config file: every setting of a run, its type, its range, its default and its description.

The defaults are those of the paper (METHOD.md). Sections stand beside the stages that take them.
"""

from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from cortex.config.cross_checks import cross_checks
from cortex.config.picture_checks import find_imported, given_size, picture_checks
from cortex.config.schema import Config
from cortex.core.errors import InputError
from cortex.core.messages import Location, dotted, one_line, shown_value
from cortex.generators.load import spec_of_settings
from cortex.generators.spec import GeneratorSpec

LONGEST = 4000  # characters of a text; those of systems' paths

__all__ = ["Config", "parse_config"]


def parse_config(settings: dict[str, Any]) -> tuple[Config, GeneratorSpec]:
    """The validated config of the nested mapping that a YAML file holds, and the shapes of its generator.

    A run on pictures alone has their classes, and one on grids with pictures, without a decoder, their size. Sampling
    options that the mapping does not set have the values that the generator's authors publish.

    Raises:
        InputError: one line naming the first wrong key, its value and what is allowed.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        raise InputError(one_line(error, Config)) from None
    _check_texts(config.model_dump(mode="python"), [])
    pictures = find_imported(config)
    origin = "weights" if config.generator.folder is None else "folder"
    path = getattr(config.generator, origin)
    try:
        spec = spec_of_settings(config.generator)
    except InputError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"config: generator.{origin} = {path!r}: {reason}") from None
    if config.data.imports.pictures_alone():
        spec = spec.with_classes(pictures["train"].class_names)
    if not spec.decodes:
        spec = replace(spec, image=given_size(config, spec) or (0, 0))
    config = _with_indices(config, spec)
    config = config.model_copy(update={"generator": config.generator.as_published(spec.published)})
    for problem in (*picture_checks(config, spec, pictures), *cross_checks(config, spec)):
        raise InputError(f"config: {problem}")
    return config, spec


def _with_indices(config: Config, spec: GeneratorSpec) -> Config:
    """The config with the index of every class that it names."""
    try:
        classes = config.classes(spec)
    except InputError as error:
        raise InputError(f"config: {error}") from None
    if all(isinstance(each, int) for each in config.data.classes or ()):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update={"classes": classes})})


def _check_texts(part: Any, place: Location) -> None:
    """Raise an InputError for a text that can be neither a name nor the path of a file."""
    if isinstance(part, dict | list | tuple):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            _check_texts(value, [*place, key])
    elif isinstance(part, str) and not (part.isprintable() and len(part) <= LONGEST):
        reason = f"should have no control characters, and at most {LONGEST} characters"
        raise InputError(f"config: {dotted(place)} = {shown_value(part)}: {reason}")

"""Sections of settings on a command line: read as plain options, then validated with errors of one line."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Annotated, Any, get_type_hints

import tyro
from pydantic import ValidationError

from cortex.core.errors import InputError
from cortex.core.messages import describe
from cortex.core.settings import Section


def with_plain_options(function: Callable[..., None], settings: type[Section] | None = None) -> Callable[..., None]:
    """A function of the same parameters, all by name, whose sections are dataclasses that accept any value.

    It validates them, and calls the function with sections.

    Args:
        function: a command.
        settings: class of its parameter ``settings``, if another than the annotation says.

    The function that is returned raises an InputError that names the wrong option, its value and what is allowed.
    """
    kinds = {name: kind for name, kind in get_type_hints(function, include_extras=True).items() if name != "return"}
    if settings is not None:
        kinds["settings"] = settings
    sections = {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}

    @wraps(function)
    def run(**values: Any) -> None:
        function(**values | {name: _validated(kind, values[name]) for name, kind in sections.items()})

    shown = kinds | {name: _plain(kind) for name, kind in sections.items()}
    run.__annotations__ = shown
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            parameter.replace(annotation=shown[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(function).parameters.items()
        ]
    )
    del run.__wrapped__
    return run


def _plain(section: type[Section]) -> type:
    """A dataclass of a section's fields and descriptions, without its bounds and without defaults that are mappings.

    tyro takes the keys of a default mapping for options.
    """
    required: list[tuple[str, Any]] = []
    optional: list[tuple[str, Any, Any]] = []
    for name, field in section.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            kind = _plain(kind)
            optional.append((name, kind, dataclasses.field(default_factory=kind)))
            continue
        kind = Annotated[kind, tyro.conf.arg(help=field.description)]
        if field.is_required() or isinstance(field.default, dict):
            required.append((name, kind))
        else:
            optional.append((name, kind, dataclasses.field(default_factory=partial(field.get_default))))
    made = dataclasses.make_dataclass(section.__name__, [*required, *optional], frozen=True)
    made.__doc__ = section.__doc__
    return made


def _validated(section: type[Section], values: Any) -> Section:
    """The section of a dataclass's values.

    Raises:
        InputError: a value is not allowed; its option is named.
    """
    fields = section.model_fields
    given = {name: value for name, value in dataclasses.asdict(values).items() if value != fields[name].get_default()}
    try:
        return section.model_validate(given)
    except ValidationError as error:
        location, reason = describe(error, section)
        names = [part for part in location if isinstance(part, str)]
        raise InputError(f"--{names[-1].replace('_', '-') if names else section.__name__}{reason}") from None

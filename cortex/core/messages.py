"""What pydantic finds wrong with a section, in one line that names key, value and what is allowed."""

from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BeforeValidator, ValidationError

from cortex.core.errors import InputError, cut
from cortex.core.settings import PATTERNS, Section, WrongValueError

Location = list[int | str]


class PartError(ValueError):
    """What is wrong inside a part whose class depends on its content: where, and the rest of the line."""

    def __init__(self, location: Location, tail: str):
        super().__init__(tail)
        self.location, self.tail = location, tail


def chosen_by(class_of: Callable[[str, Mapping[str, Any]], type[Section]]) -> BeforeValidator:
    """Validate a mapping of names to parts, each by the class that its name and content choose.

    Args:
        class_of: the class of a part, of its name and settings.

    ``class_of`` raises :class:`PartError`, with a location within the part, or an InputError about the part.
    """

    def build(parts: Any) -> Any:
        if not isinstance(parts, Mapping):
            return parts
        return {name: part if isinstance(part, Section) else _built(name, part) for name, part in parts.items()}

    def _built(name: Any, part: Any) -> Section:
        if not isinstance(part, Mapping):
            raise PartError([name], f" = {shown_value(part)}: should be a mapping of keys to values")
        try:
            return build_part(class_of(str(name), part), part)
        except PartError as error:
            raise PartError([name, *error.location], error.tail) from None
        except InputError as error:
            raise PartError([name], f": {error}") from None

    return BeforeValidator(build)


def build_part(cls: type[Section], part: Mapping[str, Any]) -> Section:
    """A part of a config as a section.

    Raises:
        PartError: it has other keys or values.
    """
    try:
        return cls.model_validate(dict(part))
    except ValidationError as error:
        raise PartError(*describe(error, cls)) from None


def kind_of(
    part: Mapping[str, Any], key: str, settings_of: Callable[[str], type[Section]], example: str
) -> type[Section]:
    """The class that the value of a key chooses.

    Args:
        part: settings of a part.
        key: of the name that chooses, such as ``network``.
        settings_of: the class of a name; raises an InputError that lists the names.
        example: the right form, for the error where the key is missing.

    Raises:
        PartError: the key is missing, or there is no such name.
    """
    if key not in part:
        raise PartError([key], f": missing; it must be set, as in {example}")
    name = part[key]
    if not isinstance(name, str):
        raise PartError([key], f" = {shown_value(name)}: should be a valid string")
    try:
        return settings_of(name)
    except InputError as error:
        raise PartError([key], f" = {shown_value(name)}: {str(error).partition(': ')[2]}") from None


def one_line(error: ValidationError, root: type[Section], what: str = "config") -> str:
    """The first problem, as ``config: key = value: what is allowed``."""
    location, tail = describe(error, root)
    return f"{what}: {dotted(location)}{tail}"


def describe(error: ValidationError, root: type[Section]) -> tuple[Location, str]:
    """The first problem: its keys, and the rest of the line."""
    problems = error.errors(include_url=False)
    # An unknown key first: it may be the misspelling of one that is missing.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    location = list(first["loc"])
    if location[-1:] == ["[key]"] and location[-2:-1] == [first["input"]]:
        del location[-1]  # pydantic adds "[key]" where the key of a mapping is wrong, not its value
    section = _section_at(location, root)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(section.model_fields)
        return location, f": unknown key; {section.moved.get(str(location[-1]), '')}allowed here: {allowed}{more}"
    if first["type"] == "missing":
        return location, f": missing; it must be set{more}"
    wrong = first.get("ctx", {}).get("error")
    if isinstance(wrong, PartError):
        return [*location, *wrong.location], f"{wrong.tail}{more}"
    value, reason = first["input"], first["msg"].removeprefix("Value error, ")
    if isinstance(wrong, WrongValueError):
        location, value, reason = [*location, wrong.key], wrong.value, wrong.reason
    elif first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        reason = "should be a mapping of keys to values"
    elif first["type"] == "string_pattern_mismatch":
        words = PATTERNS.get(first["ctx"]["pattern"])  # none for a pattern of another package
        reason = reason if words is None else f"allowed: {words}"
    elif first["type"] == "invalid_key":
        reason = f"keys are words; allowed here: {', '.join(section.model_fields)}"
    elif first["type"] in ("int_type", "float_type") and isinstance(value, str):
        # YAML reads 1e-3 as text, and Snakemake all that is nested in --config.
        example = "3" if first["type"] == "int_type" else "0.001 or 1.0e-3"
        reason += f", not text: in a config file and without quotes, as in {example}"
    for beginning in ("Input ", "String ", "List ", "Dictionary "):
        reason = reason.removeprefix(beginning)
    return location, f" = {shown_value(value)}: {reason}{more}"


def dotted(location: Sequence[int | str]) -> str:
    """A key's place in the file, on one line and not too long, whatever its names are."""
    return cut(".".join(cut(str(part), 60) for part in location), 120) or "the file"


def shown_value(value: object) -> str:
    """A value on one line, and not too long."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no integers of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _section_at(location: Location, root: type[Section]) -> type[Section]:
    """The section that the last key of a location stands in."""
    section, found = root, sections_in(root)
    for part in location:
        if not found:
            break
        section = found[0]
        field = section.model_fields.get(str(part))
        found = sections_in(field.annotation) if field is not None else []
    return section


def sections_in(annotation: Any) -> list[type[Section]]:
    """Sections that an annotation consists of."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return [annotation] if issubclass(annotation, Section) else []
    if get_origin(annotation) is Annotated or isinstance(annotation, UnionType):
        return [section for part in get_args(annotation) for section in sections_in(part)]
    return []

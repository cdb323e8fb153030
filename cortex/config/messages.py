"""What pydantic finds wrong with a config file, in one line that names key, value and what is allowed."""

from collections.abc import Sequence
from types import GenericAlias, UnionType
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from cortex.config.schema import Config
from cortex.config.values import Section, WrongValueError


def one_line(error: ValidationError) -> str:
    problems = error.errors(include_url=False)
    # An unknown key first: it may be the misspelling of one that is missing.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    # pydantic adds "[key]" for the key of a mapping; the value itself says as much.
    location, section = _walk([part for part in first["loc"] if part != "[key]"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = ", ".join(section.model_fields)
        return f"config: {_dotted(location)}: unknown key; allowed here: {allowed}{more}"
    if first["type"] == "missing":
        return f"config: {_dotted(location)}: missing; it must be set{more}"
    value, reason = first["input"], first["msg"].removeprefix("Value error, ")
    wrong = first.get("ctx", {}).get("error")
    if first["type"] == "union_tag_not_found":
        return f"config: {_dotted([*location, 'network'])}: missing; it must be set{more}"
    if first["type"] == "union_tag_invalid":
        location, value = [*location, "network"], first["ctx"]["tag"]
        reason = f"should be one of {first['ctx']['expected_tags']}"
    elif isinstance(wrong, WrongValueError):
        location, value, reason = [*location, wrong.key], wrong.value, wrong.reason
    elif first["type"] in ("model_type", "dict_type", "model_attributes_type"):
        reason = "should be a mapping of keys to values"
    elif first["type"] == "invalid_key":
        reason = f"keys are words; allowed here: {', '.join(section.model_fields)}"
    elif first["type"] in ("int_type", "float_type") and isinstance(value, str):
        # YAML reads 1e-3 as text, and Snakemake all that is nested in --config.
        reason += ", not text: in a config file and without quotes, as in 0.001 or 1.0e-3"
    reason = reason.removeprefix("Input ").removeprefix("String ").removeprefix("List ").removeprefix("Dictionary ")
    return f"config: {_dotted(location)} = {shown(value)}: {reason}{more}"


def _dotted(location: Sequence[int | str]) -> str:
    """A key's place in the file, on one line whatever its names are."""
    names = (str(part) for part in location)
    return ".".join(name if name.isprintable() else repr(name) for name in names) or "the file"


def shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python prints no integers of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else text[:77] + "..."


def _walk(location: Sequence[int | str]) -> tuple[list[int | str], type[Section]]:
    """The keys of the file on the way to ``location``, and the section that the last of them stands in.

    pydantic's locations also name the kind of a judge, which is no key.
    """
    keys: list[int | str] = []
    section: type[Section] = Config
    found: Any = Config  # a section, a mapping of names to sections, or several kinds of section
    for part in location:
        if get_origin(found) is Annotated:
            kinds = get_args(get_args(found)[0])
            found = next(kind for kind in kinds if part in get_args(kind.model_fields["network"].annotation))
            continue
        keys.append(part)
        if isinstance(found, GenericAlias):
            found = get_args(found)[-1]
        elif isinstance(found, type) and issubclass(found, Section):
            section, field = found, found.model_fields.get(str(part))
            found = field.annotation if field is not None else None
            if isinstance(found, UnionType):  # Section | None
                found = get_args(found)[0]
    return keys, section

"""The reference of the config file, made from the sections: ``docs/configuration.md`` and ``config.schema.json``."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema

from cortex.config.schema import Config
from cortex.core.files import whole_file
from cortex.core.messages import sections_in
from cortex.core.registry import Registry
from cortex.core.settings import Section
from cortex.explain import ATTRIBUTIONS
from cortex.extractors import EXTRACTORS, extractor_settings
from cortex.extractors.settings import ExtractorSettings, PretrainedExtractor
from cortex.generators import GENERATORS
from cortex.judges import JUDGES, judge_settings
from cortex.judges.settings import JudgeSettings
from cortex.studies import STUDIES, study_settings
from cortex.studies.base import StudySettings

HEAD = """# Configuration

The command `cortex document` writes this page from the code. A config file is YAML; `config.yaml` is an example.
Omitted settings take their default. Defaults are the paper's values. Unknown keys and invalid values stop the run
before any job is scheduled, with a one-line message. `config.schema.json` states the same settings for editors."""
TABLE = "| key | values | default | description |\n| --- | --- | --- | --- |\n"
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
BOUNDS = {"minimum": "from {}", "exclusiveMinimum": "above {}", "maximum": "up to {}", "exclusiveMaximum": "below {}"}


class Part(NamedTuple):
    """A key of the config whose value maps names to parts, each with the settings that a registry's entry states."""

    registry: Registry
    settings_of: Callable[[str], type[Section]]
    base: type[Section]
    introduction: str
    given: type[Section] | None = None  # settings of one that was trained elsewhere, whatever its network


PARTS = {
    "extractors": Part(
        EXTRACTORS,
        extractor_settings,
        ExtractorSettings,
        "`extractors: {NAME: {network: …, …}}`. The name is free; `network` chooses the settings.",
        PretrainedExtractor,
    ),
    "judges": Part(
        JUDGES,
        judge_settings,
        JudgeSettings,
        "`judges: {NAME: {network: …, …}}`. The name is free; `network` chooses the settings.",
    ),
    "studies": Part(
        STUDIES,
        study_settings,
        StudySettings,
        "`studies: {NAME: {…}}`, where `NAME` is a registered study, or a free name beside `study: module:STUDY`.",
    ),
}


class _Schema(GenerateJsonSchema):
    """A JSON schema without titles, which would only repeat the keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document(page: Path = Path("docs/configuration.md"), schema: Path = Path("config.schema.json")) -> None:
    """Write the reference of the config file.

    Args:
        page: Markdown page to write.
        schema: JSON schema to write, for completion and checks in editors.
    """
    text = json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"
    for path, content in ((page, reference_page()), (schema, text)):
        with whole_file(path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def reference_page() -> str:
    """The reference as Markdown: a table for each section."""
    blocks = [HEAD, *_tables(Config)]
    for key, part in PARTS.items():
        blocks += [f"## `{key}`", part.introduction, f"Settings of all {key}:", _table(part.base, _fields(part.base))]
        for cls, names in _classes(part):
            if part.base is StudySettings:
                place = heading = f"{key}.{names[0]}"
            else:
                place, heading = key, f"network: {', '.join(names)}"
            own = {name: field for name, field in _fields(cls).items() if not _same(field, part.base, name)}
            blocks += [f"### `{heading}`", _about(cls), _table(cls, own, place), *_inner(cls, own, place, level="####")]
        if part.given is not None:
            blocks += ["### With `weights`", f"{_about(part.given)} No other setting stands beside these."]
            blocks.append(_table(part.given, _fields(part.given)))
    return "\n\n".join([*blocks, *_registered()]) + "\n"


def json_schema() -> dict[str, Any]:
    """The schema, with the settings of every registered network and study."""
    schema = Config.model_json_schema(mode="validation", schema_generator=_Schema)
    definitions, properties = schema["$defs"], schema["properties"]
    for key, part in PARTS.items():
        described = {"description": properties[key]["description"]}
        if part.base is StudySettings:
            studies = {names[0]: _definition(cls, definitions) for cls, names in _classes(part)}
            outside: dict[str, Any] = {"type": "object", "required": ["study"]}
            properties[key] = {"type": "object", "properties": studies, "additionalProperties": outside, **described}
            continue
        outside = {
            "type": "object",
            "required": ["network"],
            "properties": {"network": {"type": "string", "pattern": ":"}},
        }
        choices = [_definition(cls, definitions, names) for cls, names in _classes(part)]
        # Studies with extractors of their own refer to the same definition.
        definitions[part.base.__name__] = {"anyOf": [*choices, outside]}
        of_part: dict[str, Any] = {"$ref": f"#/$defs/{part.base.__name__}"}
        if part.given is not None:
            of_part = {"anyOf": [of_part, {"$ref": f"#/$defs/{part.given.__name__}"}]}
        parts = {"type": "object", "additionalProperties": of_part}
        properties[key] = {"anyOf": [parts, {"type": "null"}], **described}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _classes(part: Part) -> list[tuple[type[Section], list[str]]]:
    """The classes of settings, each with the networks that have it, or with one study."""
    found: dict[tuple[type[Section], str], list[str]] = {}
    for name in part.registry.names():
        cls = part.settings_of(name)
        found.setdefault((cls, name if part.base is StudySettings else ""), []).append(name)
    return [(cls, names) for (cls, _), names in found.items()]


def _definition(cls: type[Section], definitions: dict[str, Any], networks: list[str] | None = None) -> dict[str, Any]:
    """The schema of a section, its own definitions moved to the whole's."""
    found = cls.model_json_schema(mode="validation", schema_generator=_Schema)
    for name, definition in found.pop("$defs", {}).items():
        definitions.setdefault(name, definition)
    if networks is not None:
        found["properties"]["network"] |= {"enum": networks}
    for name, described in found["properties"].items():
        if "$ref" in described and "network" in described.get("default", {}):  # a part whose network has a default
            unnamed = {"type": "object", "not": {"required": ["network"]}}
            others = {key: value for key, value in described.items() if key != "$ref"}
            found["properties"][name] = {"anyOf": [{"$ref": described["$ref"]}, unnamed], **others}
    return found


def _fields(cls: type[Section]) -> dict[str, FieldInfo]:
    return dict(cls.model_fields)


def _same(field: FieldInfo, base: type[Section], name: str) -> bool:
    """Whether a section of settings has a field as its base class has it."""
    of_base = base.model_fields.get(name)
    return of_base is not None and repr(of_base) == repr(field)


def _about(cls: type[Section]) -> str:
    return " ".join((cls.__doc__ or "").split("\n\n", maxsplit=1)[0].split()).replace("``", "`")


def _tables(cls: type[Section], place: str = "", values: Section | None = None, level: str = "##") -> Iterator[str]:
    """The table of a section, and those of the sections in it."""
    fields = _fields(cls)
    yield _table(cls, fields, place, values)
    yield from _inner(cls, fields, place, values, level)


def _inner(
    cls: type[Section], fields: Mapping[str, FieldInfo], place: str, values: Section | None = None, level: str = "##"
) -> Iterator[str]:
    """Headings and tables of the sections among some fields; sections of one class without defaults share a table."""
    groups: dict[tuple[type[Section], str], list[str]] = {}
    for name, field in fields.items():
        if inside := _section(field):
            groups.setdefault((inside, repr(_value(field, name, values))), []).append(name)
    for (section, _), names in groups.items():
        default = _value(fields[names[0]], names[0], values)
        inside = type(default) if isinstance(default, Section) else section  # the default may be of a subclass
        places = [_joined(place, name) for name in names]
        yield f"{level} {', '.join(f'`{each}`' for each in places)}"
        yield _about(inside)
        yield from _tables(inside, places[0], default if isinstance(default, Section) else None, level)


def _table(cls: type[Section], fields: Mapping[str, FieldInfo], place: str = "", values: Section | None = None) -> str:
    rows = []
    for name, field in fields.items():
        kind = _kind(cls, name)
        if cls is Config and (name in PARTS or _section(field)):
            kind = f"[{kind}](#{name})"
        shown = _shown(field, _value(field, name, values))
        description = str(field.description).replace("<", "\\<")  # Markdown takes <run> for HTML
        rows.append(f"| `{name}` | {kind} | {shown} | {description} |")
    return TABLE + "\n".join(rows)


def _registered() -> Iterator[str]:
    """The names that other settings may have: generator families and attributions."""
    yield "## Registered names"
    for title, registry in (("Generator families", GENERATORS), ("Attributions", ATTRIBUTIONS)):
        yield f"{title}: {', '.join(f'`{name}`' for name in registry.names())}."
    yield "In place of a registered name, settings accept `module:Attribute`; see [extend.md](extend.md)."


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _section(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds; None for other values, and for mappings of names to sections."""
    sections = sections_in(field.annotation)
    return sections[0] if sections and "dict[" not in str(field.annotation) else None


def _value(field: FieldInfo, name: str, values: Section | None) -> Any:
    """The default of a field: that of the section around it where it states one."""
    return field.default if values is None else getattr(values, name)


def _shown(field: FieldInfo, value: Any) -> str:
    if field.is_required() and value is field.default:
        return "must be set"
    return "see below" if isinstance(value, Section) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _kind(cls: type[Section], name: str) -> str:
    """Type and range of a field in words, from its JSON schema."""
    return _words(cls.model_json_schema(mode="validation")["properties"][name])


def _words(schema: dict[str, Any], *, plural: bool = False) -> str:
    if "$ref" in schema:
        return "section"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_words(part) for part in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        items, least, most = schema["items"], schema.get("minItems"), schema.get("maxItems")
        count = f"{least} " if least == most and least is not None else ""
        return f"list of {count}{_words(items, plural=True)}"
    if schema.get("type") == "object":
        return "mapping"
    kind = KINDS.get(schema.get("type", ""), schema.get("type", "any"))
    limits = [text.format(_number(schema[key])) for key, text in BOUNDS.items() if key in schema]
    return " ".join([f"{kind}s" if plural and kind.endswith("number") else kind, *limits])


def _number(value: float) -> str:
    return "2⁶³" if value == 1 << 63 else str(value)

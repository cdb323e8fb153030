"""The reference of the config file is made from the code: the page, the schema, and their descriptions."""

import json
from collections.abc import Iterator

import jsonschema
import pytest
import yaml

from cortex.config import Config
from cortex.config.document import PARTS, document, json_schema, reference_page
from cortex.core.messages import sections_in
from cortex.core.settings import Section
from tests.pipeline import CHECKOUT

CONFIGS = [
    "config.yaml",
    *sorted(f"configs/{path.name}" for path in CHECKOUT.glob("configs/*.yaml")),
    "tests/tiny.yaml",
]


def errors(config: object) -> list[str]:
    """What is wrong with a config by the schema, as editors show it."""
    as_json = json.loads(json.dumps(config))  # keys of mappings are text there
    return [error.json_path for error in jsonschema.Draft202012Validator(json_schema()).iter_errors(as_json)]


def sections(root: type[Section]) -> Iterator[type[Section]]:
    """A section and all in it."""
    yield root
    for field in root.model_fields.values():
        for inside in sections_in(field.annotation):
            yield from sections(inside)


def all_sections() -> list[type[Section]]:
    """The sections of the config and of every registered network and study."""
    parts = [part.settings_of(name) for part in PARTS.values() for name in part.registry.names()]
    parts += [part.given for part in PARTS.values() if part.given is not None]
    return list(dict.fromkeys(section for root in (Config, *parts) for section in sections(root)))


def test_the_committed_page_and_schema_are_those_of_the_code(tmp_path):
    document(tmp_path / "page.md", tmp_path / "schema.json")
    remedy = "run: cortex document"
    assert (tmp_path / "page.md").read_text() == (CHECKOUT / "docs" / "configuration.md").read_text(), remedy
    assert (tmp_path / "schema.json").read_text() == (CHECKOUT / "config.schema.json").read_text(), remedy


@pytest.mark.parametrize("section", all_sections(), ids=lambda section: section.__name__)
def test_every_section_and_setting_is_described(section):
    assert (section.__doc__ or "").strip() and section.__doc__ != Section.__doc__
    described = {name: field.description or "" for name, field in section.model_fields.items()}
    assert {name for name, text in described.items() if len(text) < 4} == set()


def test_the_page_has_every_setting_once():
    """A row for every key of the config, and for every one that a network or a study adds."""
    rows = [line.split("|")[1].strip(" `") for line in reference_page().splitlines() if line.startswith("| `")]
    assert rows[: len(Config.model_fields)] == list(Config.model_fields)
    assert {name for section in all_sections() for name in section.model_fields} == set(rows)


def test_the_page_shows_the_defaults_that_hold_at_a_place():
    """The planted benchmark's numbers of images are not those of the data set."""
    tables = reference_page().split("\n#")
    (of_data,) = (table for table in tables if table.startswith("# `data.per_class`"))
    (of_planted,) = (table for table in tables if table.startswith("### `studies.planted.per_class`"))
    assert "| `train` | whole number from 1 | `1000` |" in of_data
    assert "| `train` | whole number from 1 | `400` |" in of_planted


@pytest.mark.parametrize("path", CONFIGS)
def test_configs_that_come_with_the_code_fit_the_schema(path):
    assert errors(yaml.safe_load((CHECKOUT / path).read_text())) == []


@pytest.mark.parametrize(
    ("key", "value", "place"),
    [
        ("sed", 0, "$"),
        ("seed", -1, "$.seed"),
        ("importance", {"samples": 0}, "$.importance.samples"),
        ("extractors", {"cnn": {"network": "cnn", "widht": 8}}, "$.extractors"),
        ("extractors", {"cnn": {"network": "cnn", "weights": ["a"], "epochs": 8}}, "$.extractors"),
        ("judges", {"vit": {"network": "vit"}}, "$.judges"),  # without epochs
        ("studies", {"stability": {"samples": []}}, "$.studies.stability.samples"),
        ("studies", {"mine": {}}, "$.studies.mine"),
    ],
)
def test_the_schema_refuses_what_the_config_refuses(key, value, place):
    config = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text()) | {key: value}
    assert errors(config) == [place]


@pytest.mark.parametrize(
    ("extractor", "fits"),
    [({"width": 48}, True), ({"network": "resnet"}, True), ({"network": "cnn", "widht": 8}, False)],
)
def test_the_schema_knows_the_default_network_of_the_groups(extractor, fits):
    config = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
    config["studies"] = {"bias": {"property": "haze", "extractor": extractor}}
    assert (errors(config) == []) == fits


def test_the_page_shows_the_default_network_of_the_groups():
    (of_groups,) = (
        table for table in reference_page().split("\n#") if table.startswith("### `studies.bias.extractor`")
    )
    assert (
        '| `network` | text | `"cnn"` |' in of_groups and "| `step_epochs` | whole number from 1 | `5` |" in of_groups
    )


def test_the_schema_leaves_room_for_code_from_outside():
    config = yaml.safe_load((CHECKOUT / "tests" / "tiny.yaml").read_text())
    extractors = {"mlp": {"network": "my_methods:MLP", "hidden": 32}, "given": {"network": "cnn", "weights": ["a"]}}
    config |= {"extractors": extractors, "judges": None}
    config |= {"studies": {"mine": {"study": "my_methods:STUDY", "n": [1]}}}
    assert errors(config) == []

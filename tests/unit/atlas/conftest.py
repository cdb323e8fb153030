"""The atlas of a run, and its parts."""

import json

import pytest

from tests.unit.atlas.run import write_lookup, write_lookup_atlas


def read_part(folder, name):
    """The value that a part hands to the page."""
    text = (folder / "data" / f"{name}.js").read_text(encoding="ascii")
    head = f"atlas.receive({json.dumps(name)},"
    assert text.startswith(head) and text.endswith(");\n") and text.count("\n") == 1
    return json.loads(text.removeprefix(head).removesuffix(");\n"))


@pytest.fixture(scope="session")
def looked_up(tmp_path_factory):
    """The folder of a run."""
    return write_lookup(tmp_path_factory.mktemp("results") / "zoo")


@pytest.fixture(scope="session")
def written(looked_up, generator_weights):
    """The folder of its atlas."""
    return write_lookup_atlas(looked_up, generator_weights)


@pytest.fixture(scope="session")
def part(written):
    """A function that reads a part of the atlas."""
    return lambda name: read_part(written, name)

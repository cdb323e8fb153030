"""The atlas of a run, and its parts."""

import json

import pytest

from cortex.atlas.settings import Atlas
from cortex.atlas.write import write_atlas
from tests.unit.atlas.run import EXTRACTORS, JUDGES, write_lookup


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
    write_atlas(
        looked_up / "atlas" / "index.html",
        looked_up,
        extractors=tuple(f"{name}/average" for name in EXTRACTORS),
        judges=tuple(JUDGES),
        searched=tuple(f"{name}/0" for name in EXTRACTORS),
        images="png",
        settings=Atlas(images_per_class=2),
        generator=generator_weights,
        device="cpu",
    )
    return looked_up / "atlas"


@pytest.fixture(scope="session")
def part(written):
    """A function that reads a part of the atlas."""
    return lambda name: read_part(written, name)

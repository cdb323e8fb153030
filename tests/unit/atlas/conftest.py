"""The atlas of a run, and its parts."""

import json

import pytest

from tests.browser import WIDE
from tests.unit.atlas.run import write_lookup, write_lookup_atlas
from tests.unit.atlas.tabs import settle


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


@pytest.fixture
def tab(browser, written):
    """A function that opens an address of the atlas; at the end, nothing was logged, and no other place asked."""
    contexts, said, asked = [], [], []

    def opened(address="", size=WIDE, scheme="light"):
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((written / "index.html").as_uri() + address)
        settle(page)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    allowed = (written.as_uri() + "/", "data:")
    assert [url for url in asked if not url.startswith(allowed)] == []

"""Plain language in what a user reads: pages, captions, help and the descriptions of settings."""

import importlib
import inspect
import json
import re
from pathlib import Path

import pytest

from cortex.app.cli import all_commands

CHECKOUT = Path(__file__).parents[2]

WORDS = 28  # of a sentence; a part before a colon or semicolon counts as one
LIST = 8  # commas of a sentence that lists things, such as the columns of a table
RARE_WORDS = r"\b(anew|hence|hitherto|likewise|scarcely|thereof|thus|upon|whence|whereas|whilst)\b"
GENERATED = {"configuration.md"}  # its text is that of the settings
PAGES = [
    *(CHECKOUT / name for name in ("README.md", "METHOD.md", "OUTPUTS.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(page for page in sorted(CHECKOUT.glob("docs/*.md")) if page.name not in GENERATED),
    *sorted(CHECKOUT.glob("cortex/**/*.rst")),
]


def sentences(text):
    """The sentences of a text in Markdown, without code, tables and headings; code inside a line counts as a word."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if line.strip()]
        if all(line.startswith("    ") for line in lines):
            continue
        paragraphs = [""]
        for line in lines:
            if line.lstrip().startswith(("|", "#")):
                continue
            if re.match(r"\s*([-*]|\d+\.)\s", line):
                paragraphs.append("")
            paragraphs[-1] += f" {line.strip()}"
        for paragraph in paragraphs:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", paragraph))
            yield from (sentence for sentence in re.split(r"(?<=[.!?:;])\s+", plain) if sentence.strip())


def check(text):
    for sentence in sentences(text):
        words = sentence.split()
        assert len(words) <= WORDS or sentence.count(",") >= LIST, f"{len(words)} words: {sentence}"
        assert not re.search(RARE_WORDS, sentence, re.IGNORECASE), sentence


def test_a_long_sentence_and_a_rare_word_are_found():
    check("Short. `a b c` " + "word " * 26 + "end.\n\n    " + "code " * 40)
    with pytest.raises(AssertionError, match="29 words"):
        check("- An item " + "word " * 25 + "ends.")
    with pytest.raises(AssertionError, match="Thus"):
        check("Thus it ends.")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_and_captions_have_short_sentences(page):
    check(page.read_text())


def descriptions(schema):
    """Every description of a JSON schema."""
    if isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            yield schema["description"]
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from descriptions(part)


def test_settings_are_described_in_short_sentences():
    found = list(descriptions(json.loads((CHECKOUT / "config.schema.json").read_text())))
    assert len(found) > 100
    for description in found:
        check(re.sub(r"\([^()]*\)", "", description))


@pytest.mark.parametrize(
    ("function", "summary"), [pair for phase in all_commands().values() for pair in phase.values()], ids=str
)
def test_commands_are_described_in_short_sentences(function, summary):
    module, _, name = function.partition(":")
    check(summary)
    described = inspect.getdoc(getattr(importlib.import_module(module), name))
    check(re.sub(r"\([^()]*\)", "", described))  # lists of columns, each explained in brackets

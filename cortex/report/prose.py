"""The wording of facts: sentences stand in templates, facts come from Python.

A template is a file of Jinja macros, such as a study's ``page.j2``. A macro takes facts and gives a headline, then
details, each on a line that begins with ``- ``. Line breaks count as spaces. The text is plain: the page escapes it.
"""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2

from cortex.report import TEMPLATES
from cortex.report.tables import Table
from cortex.report.topic import Finding, Topic
from cortex.report.words import FILTERS


class Prose:
    """Macros of one template.

    Args:
        template: the file. It may import the templates of this package, such as ``phrases.j2``.
    """

    def __init__(self, template: Path):
        self._template = template

    @cached_property
    def _macros(self) -> Any:
        loader = jinja2.FileSystemLoader([self._template.parent, TEMPLATES])
        environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined)
        environment.filters |= FILTERS
        return environment.get_template(self._template.name).module

    def text(self, macro: str, **facts: Any) -> str:
        """What a macro says of facts, on one line."""
        return _line(str(getattr(self._macros, macro)(**facts)))

    def finding(self, macro: str, **facts: Any) -> Finding:
        """A finding: the macro's headline and details; a detail without words is none."""
        headline, *details = _items(getattr(self._macros, macro)(**facts))
        return Finding(headline, [detail for detail in details if detail])

    def table(self, macro: str, table: Table, **facts: Any) -> tuple[str, str, Table]:
        """A table with the macro's headline as its heading and the detail as its note."""
        heading, note = _items(getattr(self._macros, macro)(**facts))
        return heading, note, table

    def topic(
        self,
        findings: list[Finding],
        tables: list[tuple[str, str, Table]],
        answers: Mapping[str, str] | None = None,
        **facts: Any,
    ) -> Topic:
        """A topic with the words of the macros ``title``, ``link``, ``lead`` (of the facts) and ``limits``."""
        _, *limits = _items(self._macros.limits())
        title, link, lead = self.text("title"), self.text("link"), self.text("lead", **facts)
        return Topic(title, link, lead, findings, tables, limits, answers or {})


def _items(text: str) -> list[str]:
    """The headline, which may be empty, and the details."""
    return [_line(item) for item in re.split(r"(?:^|\n)[ \t]*- ", text)]


def _line(text: str) -> str:
    return re.sub(r"[ \t\n]+", " ", text).strip(" ")

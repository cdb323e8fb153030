"""A section of the page that one table of metrics makes."""

from dataclasses import dataclass, field

from cortex.report.findings import Finding
from cortex.report.tabular import Table


@dataclass(frozen=True)
class Topic:
    """A section of the page: what was asked, what came out, and the numbers.

    Args:
        title: its heading.
        link: the heading in one to three words, for the list of contents.
        lead: what was done and why, in a sentence or two.
        findings: what the numbers say, losses named like wins; the headlines of the first two are repeated at the
            top of the page.
        tables: the numbers, each table with its heading and a note on how to read it.
    """

    title: str
    link: str
    lead: str
    findings: list[Finding]
    tables: list[tuple[str, str, Table]] = field(default_factory=list)

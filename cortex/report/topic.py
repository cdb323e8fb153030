"""A section of the page that one table of metrics makes, as a study's ``page`` returns it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cortex.report.tables import Table


@dataclass(frozen=True)
class Finding:
    """What a metric says.

    Args:
        headline: the count that matters, wins and losses in one sentence or two.
        details: where it was lost, and what else keeps it from being misread.
    """

    headline: str
    details: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Topic:
    """A section of the page: the question, the answer, and the numbers.

    Args:
        title: its heading.
        link: the heading in one to three words, for the list of contents.
        lead: what was done and why, in a few sentences.
        findings: what the numbers say, losses named like wins.
        tables: the numbers, each table with its heading and a note on how to read it.
        limits: what the numbers do not say.
        answers: what the numbers add to answers of the first screen, by the answer: masking, concepts, searches,
            reliability, care; each in one to three sentences.
    """

    title: str
    link: str
    lead: str
    findings: list[Finding]
    tables: list[tuple[str, str, Table]] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    answers: Mapping[str, str] = field(default_factory=dict)

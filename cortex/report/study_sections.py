"""Sections of the studies: each study's own page function says its metrics, without the report knowing the study."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cortex.report import folder_of
from cortex.report.pictures import Picture, read_study_pictures
from cortex.report.results import Reader, claims
from cortex.report.rows import Rows
from cortex.report.tables import mark_invalid
from cortex.report.topic import Topic
from cortex.studies import STUDIES
from cortex.studies.base import Study


@dataclass(frozen=True)
class StudySection:
    """A study's section of the page.

    Args:
        topic: its words and tables.
        pictures: its figures.
        invalid: extractors and judges at chance level that its results depend on.
    """

    topic: Topic
    pictures: list[Picture]
    invalid: list[Reader]


def find_studies(words: Sequence[str]) -> dict[str, Study]:
    """Studies that have a section, by name, in the page's order.

    Args:
        words: NAME of a registered study, or NAME=module:STUDY.

    Raises:
        InputError: there is no such study.
    """
    named = [(name, reference or name) for name, _, reference in (word.partition("=") for word in words)]
    found: dict[str, Study] = {name: STUDIES.load(reference) for name, reference in named}
    return dict(sorted(((name, study) for name, study in found.items() if study.page), key=lambda item: item[1].order))


def study_pictures(folder: Path, studies: Mapping[str, Study], figures: Sequence[str]) -> dict[str, list[Picture]]:
    """The figures of the studies' sections, by study.

    Args:
        folder: of the figures' files.
        studies: by name.
        figures: of the sections, each as STUDY=FIGURE.

    Raises:
        InputError: a figure is missing.
    """
    of_study: dict[str, list[str]] = {name: [] for name in studies}
    for study, _, figure in (word.partition("=") for word in figures):
        of_study[study].append(figure)
    return {name: read_study_pictures(folder, named, folder_of(studies[name].page)) for name, named in of_study.items()}


def study_section(
    study: Study, rows: Rows, tables: Mapping[str, Rows], pictures: list[Picture], invalid: Sequence[Reader]
) -> StudySection:
    """A study's section.

    Args:
        study: the study.
        rows: its metrics, of which the section shows those over all trainings.
        tables: the study's further tables, by name.
        pictures: its figures.
        invalid: extractors and judges of the run at chance level.
    """
    module, _, function = study.page.partition(":")
    section: Callable[..., Topic] = getattr(importlib.import_module(module), function)
    depends = [reader for reader in invalid if _depends(study, rows, reader)]
    topic = section(claims(rows), **tables)
    marked = [(heading, note, mark_invalid(table, depends)) for heading, note, table in topic.tables]
    return StudySection(replace(topic, tables=marked), pictures, depends)


def _depends(study: Study, rows: Rows, reader: Reader) -> bool:
    """Whether a study's results depend on a network of the run: a study may have networks of its own."""
    if f"{reader.kind}s" not in study.needs:
        return False
    return reader.kind == "judge" or any(map(reader.concerns, rows))


def reliability(sections: Mapping[str, StudySection]) -> list[tuple[str, str]]:
    """What the studies say about the reliability of the explanations: each a sentence and the study's name."""
    return [(one.topic.reliability, name) for name, one in sections.items() if one.topic.reliability]

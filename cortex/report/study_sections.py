"""Sections of the studies: each study's own page function says its metrics, without the report knowing the study."""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError, shown
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
    study: Study, rows: Rows, more: Mapping[str, Any], pictures: list[Picture], invalid: Sequence[Reader]
) -> StudySection:
    """A study's section.

    Args:
        study: the study.
        rows: its metrics, of which the section shows those over all trainings.
        more: the study's further tables, and settings that it states, by name.
        pictures: its figures.
        invalid: extractors and judges of the run at chance level.
    """
    module, _, function = study.page.partition(":")
    section: Callable[..., Topic] = getattr(importlib.import_module(module), function)
    depends = [reader for reader in invalid if _depends(study, rows, reader)]
    topic = section(claims(rows), **more)
    marked = [(heading, note, mark_invalid(table, depends)) for heading, note, table in topic.tables]
    return StudySection(replace(topic, tables=marked), pictures, depends)


def _depends(study: Study, rows: Rows, reader: Reader) -> bool:
    """Whether a study's results depend on a network of the run: a study may have networks of its own."""
    if f"{reader.kind}s" not in study.needs:
        return False
    return reader.kind == "judge" or any(map(reader.concerns, rows))


def added_to_answers(
    sections: Mapping[str, StudySection], questions: Iterable[str]
) -> dict[str, list[tuple[str, str]]]:
    """What the studies add to the answers of the first screen: by the answer, texts with the study's name.

    Args:
        sections: of the studies, by name.
        questions: names of the answers.

    Raises:
        InputError: a study adds to an answer that there is not.
    """
    found: dict[str, list[tuple[str, str]]] = {question: [] for question in questions}
    for name, one in sections.items():
        for question, text in one.topic.answers.items():
            if question not in found:
                raise InputError(f"study {name}: answers has {shown(question)}: allowed: {', '.join(questions)}")
            found[question] += [(text, name)] if text else []
    return found

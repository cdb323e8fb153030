"""Sections of the method itself: its levels, and the networks that it depends on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cortex.extractors.names import split_name
from cortex.report import findings, level_tables
from cortex.report.levels import BASELINES, compared, of_first_method, without_invalid
from cortex.report.results import ListName, Lists, Reader, RunFiles, averaged, each_judge, read_rows
from cortex.report.rows import Rows, distinct
from cortex.report.tables import Table, full_table, mark_invalid
from cortex.report.topic import Finding


@dataclass(frozen=True)
class LevelSection:
    """The section of a level.

    Args:
        invalid: extractors and judges at chance level that its results depend on.
        findings: what its numbers say, without the invalid ones.
        table: the numbers to show first.
        scores: methods of importance, and averaged scores, side by side; None where there is one kind of scores.
        comparisons: every comparison.
        every_row: of its metrics.
    """

    invalid: list[Reader]
    findings: list[Finding]
    table: Table
    scores: Table | None
    comparisons: Table
    every_row: Table


@dataclass(frozen=True)
class ModelsSection:
    """The section of the reliability: agreement of trainings, extractors and judges; None where a run lacks them.

    Args:
        agreement: of trainings and extractors.
        extractor_findings, extractors: accuracy of the extractors.
        judge_findings, judges: accuracy of the judges.
        by_class: the same by class.
    """

    agreement: Table | None
    extractor_findings: list[Finding]
    extractors: Table
    judge_findings: list[Finding]
    judges: Table | None
    by_class: Table | None


def level_section(level: str, rows: Rows, comparisons: Rows, invalid: Sequence[Reader]) -> LevelSection:
    """The section of a level.

    Args:
        level: such as image_level.
        rows: its metrics.
        comparisons: of all levels.
        invalid: extractors and judges at chance level.
    """
    of_judges = each_judge(rows)
    beside = {baseline: compared(comparisons, of_judges, level, baseline) for baseline in BASELINES[level]}
    every = [one for of_baseline in beside.values() for one in of_baseline]
    first = {baseline: of_first_method(of_baseline) for baseline, of_baseline in beside.items()}
    valid = {baseline: without_invalid(of_baseline, invalid) for baseline, of_baseline in first.items()}
    several = level != "codebook_level" and (len(distinct(rows, "attribution")) > 1 or averaged(rows))
    scores = level_tables.scores_table(level, of_judges, beside[BASELINES[level][0]]) if several else None
    if level == "concept_level":
        table = level_tables.comparisons_table(first[BASELINES[level][0]], level)
    else:
        table = {
            "image_level": level_tables.image_level_table,
            "codebook_level": level_tables.codebook_level_table,
        }[level](of_judges)
    return LevelSection(
        [reader for reader in invalid if any(map(reader.concerns, rows))],
        findings.LEVEL_FINDINGS[level](valid),
        mark_invalid(table, invalid),
        mark_invalid(scores, invalid) if scores else None,
        mark_invalid(level_tables.comparisons_table(every, level), invalid),
        mark_invalid(full_table(rows), invalid),
    )


def models_section(
    files: RunFiles, top_n: int, names: Callable[[int], str], invalid: Sequence[Reader]
) -> ModelsSection:
    """The section of the reliability.

    Args:
        files: of the run.
        top_n: lists of concept tokens to show.
        names: gives the name of a class.
        invalid: extractors and judges at chance level.
    """
    metrics = files.metrics
    judges, judged = metrics.get("judge_accuracy", []), None
    if judges:
        histories = {judge: read_rows(path) if path else [] for judge, path in files.histories.items()}
        judged = level_tables.judges_table(histories, judges, metrics.get("image_level", []))
    extractors = metrics["extractor_accuracy"]
    return ModelsSection(
        level_tables.agreement_table(metrics["agreement"], top_n) if "agreement" in metrics else None,
        findings.extractor_findings(extractors, len(files.frequent)),
        mark_invalid(level_tables.accuracy_table(extractors), invalid),
        findings.judge_findings(judges),
        mark_invalid(judged, invalid) if judged else None,
        level_tables.judges_by_class_table(files.readings, names) if judges else None,
    )


def overlap_section(files: RunFiles, shown: ListName) -> Finding:
    """How many concept tokens are frequent ones, by extractor.

    Args:
        files: of the run.
        shown: kind and top_n of the lists.
    """
    names = dict.fromkeys(split_name(one)[0] for one in files.extractors)
    lists: dict[str, Lists] = {name: files.lists(files.shown(name)).get(shown, {}) for name in names}
    return findings.overlap_finding(lists, files.frequent)

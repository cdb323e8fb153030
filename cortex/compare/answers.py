"""What the comparison says: questions and answers of the first screen. ``templates/answers.j2`` has the words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from cortex.compare.page_tables import Invalid, concerned
from cortex.compare.runs import ComparedRun
from cortex.compare.shared import Shared
from cortex.report import FOLDER
from cortex.report.answers import FIRST, Answer
from cortex.report.prose import Prose
from cortex.report.rows import Row, Rows, distinct, groups, mean, select, tally

TEMPLATES = FOLDER.parent / "compare" / "templates"
PROSE = Prose(TEMPLATES / "answers.j2")
TYPICAL = 0.2  # masked share that a sentence is about, where the curves reach it


@dataclass(frozen=True)
class Evidence:
    """What the answers are made of.

    Args:
        shared: what the runs share.
        tables: rows by table.
        invalid: extractors and judges at chance level, by run.
    """

    shared: Shared
    tables: Mapping[str, Rows]
    invalid: Invalid

    def valid(self, table: str) -> list[Row]:
        """Rows over all trainings and shared classes, without those that depend on guesses."""
        rows = [row for row in self.tables[table] if row.get("training") is None and row.get("class") is None]
        return [row for row in rows if not concerned(row, self.invalid)]

    def differences(self, measure: str) -> dict[str, Any]:
        """Verdicts on a measure: all, and of every two runs."""
        rows = select(self.valid("differences"), measure=measure)
        pairs = [
            {"run": one, "other_run": other, "verdicts": tally(row["verdict"] for row in of)}
            for (one, other), of in groups(rows, "run", "other_run").items()
        ]
        return {"pairs": pairs, "verdicts": tally(row["verdict"] for row in rows), "invalid": self.named(measure)}

    def named(self, measure: str) -> list[str]:
        """Extractors at chance level, each with its run; of the excess, judges as well."""
        kinds = ("extractor",) if measure == "accuracy" else ("extractor", "judge")
        found = [(run, one) for run, readers in self.invalid.items() for one in readers if one.kind in kinds]
        return list(dict.fromkeys(f"{one.kind} {one.name} of {run}" for run, one in found))


def answers(evidence: Evidence) -> list[Answer]:
    """The answers."""
    found = [
        _answer("accuracy", ["accuracy"], means=_accuracies(evidence), **evidence.differences("accuracy")),
        _answer("curves", ["curves"], **_masks(evidence), **evidence.differences("excess")),
        _answer("tokens", ["tokens"], **overlaps(evidence)),
    ]
    return [*found, _answer("care", ["runs"], **_cautions(evidence.shared))]


def _accuracies(evidence: Evidence) -> dict[str, float]:
    rows = groups(evidence.valid("accuracy"), "run")
    return {run: mean(row["accuracy"] for row in of_run) for (run,), of_run in rows.items()}


def _masks(evidence: Evidence) -> dict[str, Any]:
    """Mean changes at an area that the curves of all runs reach, the one closest to :data:`TYPICAL`."""
    rows = evidence.valid("curves")
    area = typical_area(select(evidence.valid("differences"), measure="excess"))
    return {
        "area": area,
        "measured": bool(select(evidence.tables["differences"], measure="excess")),
        "means": {
            run: {
                "importance": mean(row["importance"] for row in of_run),
                "random": mean(row["random_area"] for row in of_run),
            }
            for (run,), of_run in groups(select(rows, area=area), "run").items()
        },
    }


def typical_area(rows: Rows) -> float | None:
    """The area closest to :data:`TYPICAL` of differences of the excess; None where there are none."""
    return min(distinct(rows, "area"), key=lambda area: abs(area - TYPICAL), default=None)


def shown_overlaps(shared: Shared, rows: Rows) -> list[Row]:
    """The overlaps of the lists on the cards, of their first five tokens, or of those most like them."""
    wanted = {
        "attribution": shared.attributions[0],
        "list": "contrast",
        "top_n": shared.runs[0].shown_top_n,
        "n": FIRST,
    }
    for name, value in wanted.items():
        values = distinct(rows, name)
        rows = select(rows, **{name: value if value in values else min(values, default=None)})
    return list(rows)


def overlaps(evidence: Evidence) -> dict[str, Any]:
    """How many of the first tokens of a class two trainings share, means over extractors, within runs and across."""
    rows = shown_overlaps(evidence.shared, evidence.valid("overlap"))
    n = rows[0]["n"] if rows else 0
    means = [
        {"run": one, "other_run": other, "shared": n * mean(row["value"] for row in of)}
        for (one, other), of in groups(rows, "run", "other_run").items()
    ]
    within = [one for one in means if one["run"] == one["other_run"]]
    return {"n": n, "within": within, "across": [one for one in means if one not in within]}


def _cautions(shared: Shared) -> dict[str, Any]:
    pairs = list(combinations(shared.runs, 2))
    return {
        "left_out": shared.left_out,
        "judges": [name for name in shared.judges if not _one_judge(shared.judged, name)],
        "same_images": [(one.name, other.name) for one, other in pairs if shared.same_images(one, other)],
    }


def _one_judge(runs: Sequence[ComparedRun], name: str) -> bool:
    """Whether a judge has the same weights in all runs."""
    return len({run.judge_weights(name) for run in runs}) == 1


def _answer(name: str, links: list[str], **facts: Any) -> Answer:
    finding = PROSE.finding(name, **facts)
    return Answer(PROSE.text(f"{name}_question"), finding.headline, finding.details, links)

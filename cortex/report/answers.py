"""Five questions that the first screen answers, each in a sentence with its figures. ``answers.j2`` has the words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cortex.report import TEMPLATES
from cortex.report import levels as at
from cortex.report.levels import Comparison
from cortex.report.prose import Prose
from cortex.report.results import ListName, Reader, of_first
from cortex.report.rows import Row, Rows, mean, select

PROSE = Prose(TEMPLATES / "answers.j2")
EQUAL_AREA = "random_area"
FIRST = 5  # concept tokens of a class that two trainings are compared by


@dataclass(frozen=True)
class Answer:
    """A question and its answer.

    Args:
        question: as a reader asks it.
        short: the answer in a few words.
        details: the answer with its figures, in sentences; the first says most.
        links: ids of the sections that have the numbers.
        measured: whether the run has what the answer needs.
        added: what studies add, each text with the id of the study's section.
    """

    question: str
    short: str
    details: list[str]
    links: list[str] = field(default_factory=list)
    measured: bool = True
    added: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Evidence:
    """What the answers are made of.

    Args:
        metrics: rows of the tables of metrics, by name.
        trainings: how many trainings the extractors have, the fewest.
        invalid: extractors and judges that read the classes at chance level.
        levels: levels that were judged.
        reason: why other levels are missing.
        agreed: kind and top_n of the concept tokens that the page shows.
        studies: what the studies add, by the answer: texts, each with the study's name.
    """

    metrics: Mapping[str, Rows]
    trainings: int
    invalid: Sequence[Reader]
    levels: Sequence[str]
    reason: str
    agreed: ListName
    studies: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)

    def comparisons(self, level: str, baseline: str) -> list[Comparison]:
        """The comparisons of a level by the first method of importance, without the invalid ones."""
        every = at.compared(self.metrics["comparisons"], self.metrics[level], level, baseline)
        return at.without_invalid(at.of_first_method(every), self.invalid)

    @property
    def common(self) -> dict[str, Any]:
        """Facts of every answer."""
        return {"trainings": self.trainings, "invalid": [reader.name for reader in self.invalid]}


def answers(evidence: Evidence) -> list[Answer]:
    """The five answers."""
    return [answer(evidence) for answer in QUESTIONS.values()]


def masking(evidence: Evidence) -> Answer:
    """Does masking important tokens lower the judges' probability of the class more than random masks of equal area?"""
    beside = _beside(evidence, "image_level", EQUAL_AREA)
    facts = at.masks(beside) if beside else None
    return _answer("masking", ["image-level"], evidence, "image_level", facts=facts)


def concepts(evidence: Evidence) -> Answer:
    """Do concept tokens beat frequent tokens?"""
    beside = at.at_equal_area(_beside(evidence, "concept_level", "frequency"))
    by_list = {kind: at.masks(of_kind) for kind, of_kind in at.by_list(beside).items()}
    facts = {"all": at.masks(beside), "lists": by_list} if beside else None
    return _answer("concepts", ["concept-level"], evidence, "concept_level", facts=facts)


def searches(evidence: Evidence) -> Answer:
    """Do searched tokens convince the judges?"""
    beside = _beside(evidence, "codebook_level", "embedding")
    facts = at.search_facts(beside) | {"controlled": bool(evidence.studies.get("searches"))} if beside else None
    return _answer("searches", ["codebook-level"], evidence, "codebook_level", facts=facts)


def reliability(evidence: Evidence) -> Answer:
    """How reliable are these results?"""
    image_level = evidence.metrics.get("image_level", [])
    facts = {
        "agreement": agreement_facts(evidence.metrics.get("agreement", []), evidence.agreed),
        "average": at.average_facts(image_level, EQUAL_AREA) if image_level else None,
    }
    return _answer("reliability", ["reliability"], evidence, None, facts=facts)


def care(evidence: Evidence) -> Answer:
    """What should a reader be careful about?"""
    facts = {
        "judges": _accuracies(evidence.metrics.get("judge_accuracy", [])),
        "masked": [level for level in ("image_level", "concept_level") if level in evidence.levels],
        "readers": evidence.invalid,
        "hidden": None,
    }
    if "concept_level" in evidence.levels:
        beside = at.at_equal_area(_beside(evidence, "concept_level", "frequency"))
        facts["hidden"] = max((one.method["masked_fraction"] for one in beside), default=None)
    return _answer("care", ["reliability"], evidence, None, facts=facts)


QUESTIONS: dict[str, Callable[[Evidence], Answer]] = {
    answer.__name__: answer for answer in (masking, concepts, searches, reliability, care)
}


def agreement_facts(rows: Rows, agreed: ListName) -> dict[str, float] | None:
    """Means over extractors of how far two trainings of one agree; None where no extractor has several.

    Args:
        rows: the table of agreement.
        agreed: kind and top_n of the lists of concept tokens to compare.
    """
    over_all = [row for row in rows if row["training"] is None and row["extractor"] == row["other_extractor"]]
    if not over_all:
        return None
    over_all = of_first(over_all)
    found = {}
    for name in ("correlation", "own_correlation"):
        found[name] = mean(row["value"] for row in select(over_all, measure=name))
    kind, top_n = agreed
    overlaps = select(over_all, measure="token_overlap", list=kind, top_n=top_n)
    n = min((row["n"] for row in overlaps), key=lambda n: abs(n - FIRST))
    values = [row["value"] for row in select(overlaps, n=n)]
    return found | {"n": n, "shared": n * mean(values), "lowest": n * min(values), "highest": n * max(values)}


def _beside(evidence: Evidence, level: str, baseline: str) -> list[Comparison]:
    return evidence.comparisons(level, baseline) if level in evidence.levels else []


def _accuracies(rows: Rows) -> tuple[float, float] | None:
    """The lowest and highest top-1 accuracy of judges on test images."""
    found: list[Row] = select(rows, split="test", k=1)
    return at.span(row["accuracy"] for row in found) if found else None


def _answer(name: str, links: list[str], evidence: Evidence, level: str | None, **facts: Any) -> Answer:
    """An answer in words: the macro ``name``, or that its level is missing; ``NAME_question`` has the question."""
    missing = level is not None and level not in evidence.levels
    added: list[tuple[str, str]] = []
    if missing:
        finding, links = PROSE.finding("missing", reason=evidence.reason), []
    else:
        finding = PROSE.finding(name, **facts, **evidence.common)
        added = [(text, f"{study}-topic") for text, study in evidence.studies.get(name, ())]
    return Answer(PROSE.text(f"{name}_question"), finding.headline, finding.details, links, not missing, added)

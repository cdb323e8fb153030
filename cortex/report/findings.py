"""Findings of the level pages and of the models, in words; ``findings.j2`` has the words."""

from collections.abc import Mapping, Sequence

from cortex.report import TEMPLATES
from cortex.report.levels import BASELINES, Comparison, by_list, masks, search_facts
from cortex.report.prose import Prose
from cortex.report.results import claims
from cortex.report.rows import Row, Rows, distinct, mean, select
from cortex.report.topic import Finding

PROSE = Prose(TEMPLATES / "findings.j2")


def image_level_findings(beside: Mapping[str, Sequence[Comparison]]) -> list[Finding]:
    """Whether masking important tokens costs more probability than each of the random masks.

    Args:
        beside: comparisons by baseline.
    """
    return [PROSE.finding("image_level", baseline=name, facts=masks(beside[name])) for name in beside if beside[name]]


def concept_level_findings(beside: Mapping[str, Sequence[Comparison]]) -> list[Finding]:
    """Whether concept tokens cost more probability than frequent ones: at equal area, and by numbers of tokens."""
    found = []
    for kind, of_kind in by_list(beside[BASELINES["concept_level"][0]]).items():
        for equal in (True, False):
            part = [one for one in of_kind if (one.row["area"] is not None) == equal]
            if part:
                found.append(PROSE.finding("concept_level", kind=kind, equal=equal, facts=masks(part)))
    return found


def codebook_level_findings(beside: Mapping[str, Sequence[Comparison]]) -> list[Finding]:
    """Whether token selection raises the target's probability more than embedding optimisation."""
    pairs = beside[BASELINES["codebook_level"][0]]
    return [PROSE.finding("codebook_level", facts=search_facts(pairs))] if pairs else []


LEVEL_FINDINGS = {
    "image_level": image_level_findings,
    "concept_level": concept_level_findings,
    "codebook_level": codebook_level_findings,
}


def extractor_findings(rows: Rows, classes: int) -> list[Finding]:
    """Extractor accuracy: the best and the worst extractor, beside guessing."""
    found = []
    for split, k, of_split in _least_k(claims(rows)):
        ranked = sorted(of_split, key=lambda row: -row["accuracy"])
        facts = {"split": split, "k": k, "ranked": ranked, "classes": classes, "chance": k / classes}
        found.append(PROSE.finding("extractors", **facts))
    return found


def judge_findings(rows: Rows) -> list[Finding]:
    """Judge accuracy: how often the judges name the label of an image."""
    return [PROSE.finding("judges", split=split, k=k, rows=of_split) for split, k, of_split in _least_k(rows)]


def overlap_finding(lists: Mapping[str, Mapping[int, Sequence[int]]], frequent: Mapping[int, Sequence[int]]) -> Finding:
    """How many of the concept tokens are also among the class's most frequent ones.

    Args:
        lists: by extractor and label, the concept tokens.
        frequent: by label, the most frequent tokens.
    """
    shares = {
        name: mean(len(set(tokens) & set(frequent.get(label, ()))) / len(tokens) for label, tokens in of_label.items())
        for name, of_label in lists.items()
    }
    return PROSE.finding("overlap", shares=shares, kept=max(len(tokens) for tokens in frequent.values()))


def _least_k(rows: Rows) -> list[tuple[str, int, list[Row]]]:
    """Splits, each with its smallest k and the rows of it."""
    found = []
    for split in distinct(rows, "split"):
        k = min(row["k"] for row in select(rows, split=split))
        found.append((split, k, select(rows, split=split, k=k)))
    return found

"""The section of pictures that nobody drew: how well their tokens show them."""

from collections.abc import Callable
from dataclasses import dataclass

from cortex.report import TEMPLATES
from cortex.report.prose import Prose
from cortex.report.rows import Rows
from cortex.report.tables import Cell, Table, number
from cortex.report.topic import Finding
from cortex.report.words import number as in_words

PROSE = Prose(TEMPLATES / "findings.j2")


@dataclass(frozen=True)
class RealPictures:
    """How well the codebook holds the pictures of a run.

    Args:
        finding: the errors of all pictures.
        warning: what the reader must know before any result; None where the codebook fits the pictures of all classes.
        table: errors and codes of every class.
    """

    finding: Finding
    warning: Finding | None
    table: Table


def real_pictures(rows: Rows, codes: int, name: Callable[[int], str]) -> RealPictures:
    """The section.

    Args:
        rows: the table of reconstructions.
        codes: of the codebook.
        name: of a class index.
    """
    over_all = next(row for row in rows if row["label"] is None)
    of_classes = [row for row in rows if row["label"] is not None]
    unfit = [name(row["label"]) for row in of_classes if not row["fits"]]
    facts = {"row": over_all, "codes": codes, "unfit": unfit, "classes": len(of_classes)}
    table = Table(["class", "images", "error", "error of the mean colour", "codes used", "perplexity"], 1)
    for row in (over_all, *of_classes):
        label = "all" if row["label"] is None else name(row["label"])
        ends = [(row[key], row[f"{key}_low"], row[f"{key}_high"]) for key in ("l1", "plain_l1")]
        errors = [Cell("{} ({} to {})".format(*map(in_words, values)), values[0]) for values in ends]
        table.rows.append(
            [Cell(label), number(row["samples"]), *errors, number(row["codes"]), number(row["perplexity"])]
        )
    warns = bool(unfit) or not over_all["fits"]
    warning = PROSE.finding("unfit", **facts) if warns else None
    return RealPictures(PROSE.finding("reconstruction", **facts), warning, table)

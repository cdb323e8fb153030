"""Tables of the page: their cells, and how numbers are shown in them."""

from dataclasses import dataclass, field
from typing import Any

from cortex.report import words
from cortex.report.rows import Row, Rows


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, the number behind it, and whether it wins its comparison."""

    text: str
    value: float | int | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its column names, how many of the columns name the row, its rows."""

    columns: list[str]
    names: int
    rows: list[list[Cell]] = field(default_factory=list)


def full_table(rows: Rows) -> Table:
    """Every row and column of a metrics file; its first columns of text, and of trainings, name the rows."""
    columns = list(rows[0]) if rows else []
    text = [name == "training" or any(isinstance(row[name], str) for row in rows) for name in columns]
    return Table(columns, (*text, False).index(False), [[number(row[name]) for name in columns] for row in rows])


def number(value: Any) -> Cell:
    """A cell of a value as it is: text, nothing, a count, or a number with three decimals or two digits."""
    if value is None:
        return Cell("–")
    return Cell(value) if isinstance(value, str) else Cell(words.number(value), value)


def share(value: float | None) -> Cell:
    """A cell of a share, in percent."""
    return Cell("–") if value is None else Cell(words.percent(value), value)


def estimate(row: Row | None, *, best: bool = False) -> Cell:
    """A cell of a row's value with its 95 % interval; a dash where nothing was measured."""
    return Cell("–") if row is None else Cell(words.estimate(row), row["value"], best)

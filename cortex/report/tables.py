"""Tables of the page: their cells, how numbers are shown in them, and which rows are invalid."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cortex.extractors.names import split_name
from cortex.report import words
from cortex.report.results import Reader
from cortex.report.rows import Row, Rows


@dataclass(frozen=True)
class Cell:
    """A table's cell: its text, the number behind it, and whether it wins its comparison."""

    text: str
    value: float | int | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Args:
        columns: their names.
        names: how many of the columns name the row.
        rows: their cells.
        invalid: numbers of the rows that depend on an extractor or a judge at chance level.
    """

    columns: list[str]
    names: int
    rows: list[list[Cell]] = field(default_factory=list)
    invalid: frozenset[int] = frozenset()


def mark_invalid(table: Table, readers: Sequence[Reader]) -> Table:
    """The table, with the rows marked that name one of these extractors or judges."""
    rows = [_names(table, row) for row in table.rows]
    marked = {number for number, row in enumerate(rows) if any(reader.concerns(row) for reader in readers)}
    return replace(table, invalid=frozenset(marked))


def full_table(rows: Rows) -> Table:
    """Every row and column of a metrics file; its first columns of text, and of trainings, name the rows."""
    columns = list(rows[0]) if rows else []
    text = [name == "training" or any(isinstance(row[name], str) for row in rows) for name in columns]
    return Table(columns, (*text, False).index(False), [[number(row[name]) for name in columns] for row in rows])


def number(value: Any) -> Cell:
    """A cell of a value as it is: text, yes or no, nothing, a count, or a number with three decimals or two digits."""
    if value is None:
        return Cell("–")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    return Cell(value) if isinstance(value, str) else Cell(words.number(value), value)


def share(value: float | None) -> Cell:
    """A cell of a share, in percent."""
    return Cell("–") if value is None else Cell(words.percent(value), value)


def estimate(row: Row | None, *, best: bool = False) -> Cell:
    """A cell of a row's value with its 95 % interval; a dash where nothing was measured."""
    return Cell("–") if row is None else Cell(words.estimate(row), row["value"], best)


def _names(table: Table, cells: Sequence[Cell]) -> dict[str, Any]:
    """What the cells that name a row say of extractor, training and judge."""
    found: dict[str, Any] = {
        name: cell.text if cell.text != "–" else None
        for name, cell in zip(table.columns[: table.names], cells, strict=False)
        if name in ("extractor", "judge")
    }
    if "measure" in table.columns:
        found["measure"] = None
    number = next((cell for name, cell in zip(table.columns, cells, strict=True) if name == "training"), None)
    if number is not None:
        found["training"] = number.value
    elif "/" in (found.get("extractor") or ""):
        found["extractor"], found["training"] = split_name(found["extractor"])
    return found

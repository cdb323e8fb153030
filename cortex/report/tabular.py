"""Tables of the page: their cells, and how numbers are shown in them."""

from dataclasses import dataclass, field
from typing import Any

from cortex.report import findings as say


@dataclass(frozen=True)
class Cell:
    """A table's cell: what it shows, the number behind it, and whether it wins its comparison."""

    text: str
    value: float | int | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table: its column names, how many of the columns name the row, its rows."""

    columns: list[str]
    names: int
    rows: list[list[Cell]] = field(default_factory=list)


def full_table(rows: say.Rows) -> Table:
    """Every row and column of a metrics file."""
    columns = list(rows[0]) if rows else []
    names = sum(isinstance(rows[0][column], str) for column in columns) if rows else 0
    return Table(columns, names, [[number(row[column]) for column in columns] for row in rows])


def number(value: Any) -> Cell:
    """A cell of a value as it is: text, nothing, a count, or a number with three decimals or two digits."""
    if value is None:
        return Cell("–")
    if isinstance(value, str):
        return Cell(value)
    if isinstance(value, int):
        return Cell(f"{value:,}", value)
    text = f"{value:.3f}" if abs(value) >= 0.0005 or value == 0 else f"{value:.1e}"
    return Cell(text.replace("-", "−"), value)


def share(value: float | None) -> Cell:
    """A cell of a share, in percent."""
    return Cell("–") if value is None else Cell(say.percent(value), value)


def groups(rows: say.Rows, *columns: str) -> dict[tuple[Any, ...], list[say.Row]]:
    """Rows by their values in some columns, in order of appearance."""
    groups: dict[tuple[Any, ...], list[say.Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups

"""Means over images with their intervals, as controls measure them, in words and cells."""

from cortex.report.findings import Row
from cortex.report.tabular import Cell


def figure(value: float) -> str:
    """A number with two decimals, like "−0.25"."""
    return f"{value:.2f}".replace("-", "−") if abs(value) >= 0.005 else "0.00"


def estimate(row: Row) -> str:
    """A value with its 95 % interval, like "0.25 (0.20 to 0.30)"."""
    return f"{figure(row['value'])} ({figure(row['low'])} to {figure(row['high'])})"


def cell(row: Row | None, *, best: bool = False) -> Cell:
    """The same in a table; a dash where nothing was measured."""
    return Cell("–") if row is None else Cell(estimate(row), row["value"], best)

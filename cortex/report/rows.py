"""Rows of metrics tables: read, grouped and counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cortex.core.tables import read_table
from cortex.extractors.names import split_name

Row = Mapping[str, Any]
Rows = Sequence[Row]
VERDICTS = ("better", "worse", "no difference found")


def read_rows(path: Path) -> list[Row]:
    """The rows of a table.

    Raises:
        InputError: the file is missing or damaged.
    """
    rows: list[Row] = read_table(path).to_pylist()
    return rows


def claims(rows: Rows) -> list[Row]:
    """The rows over all trainings of an extractor; all rows of a table that has none of these."""
    return [row for row in rows if row.get("training") is None] or list(rows)


def shown_rows(rows: Rows) -> list[Row]:
    """Rows of a level that figures and findings show: of the first attribution, and of published lists of tokens."""
    first = next((row["attribution"] for row in rows if row["attribution"] is not None), None)
    of_first = [row for row in rows if row["attribution"] in (None, first)]
    return [row for row in of_first if row.get("list") in (None, "count") and row.get("area") is None]


def short_names(trained: Sequence[str]) -> list[str]:
    """Names of trained extractors ("cnn/0") as tables show them: "cnn", or "cnn/0" where it has several trainings."""
    several = {name for name, count in Counter(split_name(one)[0] for one in trained).items() if count > 1}
    return [one if split_name(one)[0] in several else split_name(one)[0] for one in trained]


def groups(rows: Rows, *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values in some columns, in order of appearance."""
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[column] for column in columns), []).append(row)
    return found


def distinct(rows: Rows, column: str) -> list[Any]:
    """The values of a column, in order of appearance."""
    return list(dict.fromkeys(row[column] for row in rows))


def select(rows: Rows, **values: object) -> list[Row]:
    """The rows that have all of these values."""
    return [row for row in rows if all(row[name] == value for name, value in values.items())]


def tally(verdicts: Iterable[str | None]) -> dict[str, int]:
    """How often each verdict was given, without those that were not."""
    counts = Counter(verdicts)
    return {verdict: counts[verdict] for verdict in VERDICTS if counts[verdict]}


def mean(values: Iterable[float]) -> float:
    """The arithmetic mean."""
    found = list(values)
    return sum(found) / len(found)

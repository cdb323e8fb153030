"""Rows of tables: selected, grouped, counted."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cortex.extractors.names import split_name

Row = Mapping[str, Any]
Rows = Sequence[Row]
VERDICTS = ("better", "worse", "no difference found")


def short_names(trained: Sequence[str]) -> list[str]:
    """Names of trained extractors ("cnn/0") as figures show them: "cnn", or "cnn/0" where it has several trainings."""
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

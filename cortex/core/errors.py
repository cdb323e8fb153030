"""The exceptions that a user is meant to read."""

import math
import os
import re
from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave is wrong: one line saying what, where (file, key, member) and what is allowed."""


class StoppedError(Exception):
    """A signal stopped the work at a good moment; what was done is kept, and the same command goes on from there."""


def shown(text: str) -> str:
    """A name out of a file, on one line and not too long, whatever it holds."""
    return repr(text if len(text) <= 80 else text[:80] + "…")


def reason_of(error: object) -> str:
    """The first line of an error that other code raised, without what its objects are called in memory."""
    return re.sub(r" ?<[\w.]+ object at 0x[0-9a-f]+>", "", (str(error).splitlines() or [type(error).__name__])[0])


def listed(names: Sequence[str], most: int = 5) -> str:
    """A few names out of a file on one line, the beginning that all have once, and how many more there are."""
    start = os.path.commonprefix(names).rpartition(".")[:2]  # noqa: RUF071
    prefix = "".join(start) if len(names) > 1 else ""
    few = ", ".join(shown(name.removeprefix(prefix))[1:-1] for name in names[:most])
    few = f"{shown(prefix)[1:-1]}{{{few}}}" if prefix else few
    return few + (f" and {len(names) - most} more" if len(names) > most else "")


def few(names: Sequence[str], most: int = 5) -> str:
    """A few names in quotes, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(map(shown, names[:most])) or "none") + more


def check_options(at_least: float = 0, *, strictly: bool = False, **values: float | None) -> None:
    """Raise an InputError unless every option's value is finite and at least so much, or strictly more."""
    for name, value in values.items():
        if value is not None and not (at_least <= value < math.inf and not (strictly and value == at_least)):
            allowed = f"above {at_least:g}" if strictly else f"{at_least:g} and more"
            raise InputError(f"--{name.replace('_', '-')} = {value}: allowed: {allowed}, and finite")

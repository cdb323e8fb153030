"""The exceptions that a user is meant to read."""

import math
import os
import re
from collections.abc import Collection, Sequence
from itertools import accumulate, islice


class InputError(ValueError):
    """Something the user gave is wrong: one line saying what, where (file, key, member) and what is allowed."""


class StoppedError(Exception):
    """A signal stopped the work at a good moment; what was done is kept, and the same command goes on from there."""


def on_one_line(text: str) -> str:
    """A text whose ends of lines and other control characters are written as Python escapes them."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def cut(text: str, most: int = 200) -> str:
    """A text on one line, of at most so many characters."""
    written = on_one_line(text[: most + 1])
    return written if len(written) <= most else written[: most - 1] + "…"


def shown(text: str) -> str:
    """A name out of a file, on one line and not too long, whatever it holds."""
    written = repr(text if len(text) <= 80 else text[:80] + "…")
    return written if len(written) <= 120 else f"{written[:100]}…{written[0]}"  # escaped characters take up to ten


def reason_of(error: object) -> str:
    """The first line of an error that other code raised, without what its objects are called in memory."""
    first = (str(error).splitlines() or [type(error).__name__])[0]
    told = re.sub(r" ?<[\w.]+ object at 0x[0-9a-f]+>", "", first)
    return cut(told)


def listed(names: Sequence[str], most: int = 5) -> str:
    """A few names of tensors on one line, the beginning that all have once, and how many more there are."""
    start = os.path.commonprefix(names).rpartition(".")[:2]  # noqa: RUF071
    prefix = "".join(start) if len(names) > 1 else ""
    few, more = _few([shown(name.removeprefix(prefix))[1:-1] for name in names[:most]], len(names))
    return (f"{shown(prefix)[1:-1]}{{{few}}}" if prefix else few) + more


def quoted(names: Collection[str], most: int = 5) -> str:
    """A few names on one line, in quotes, and how many more there are; ``none`` where there is none.

    Names may hold spaces and commas, as those of classes and columns.
    """
    few, more = _few([shown(name) for name in islice(names, most)], len(names))
    return few + more or "none"


def _few(words: list[str], count: int, longest: int = 150) -> tuple[str, str]:
    """The first words as far as they fit, at least one, and how many more there are."""
    lengths = accumulate(len(word) + 2 for word in words)
    kept = words[: max(1, sum(length <= longest for length in lengths))]
    return ", ".join(kept), f" and {count - len(kept):,} more" if count > len(kept) else ""


def check_options(at_least: float = 0, *, strictly: bool = False, **values: float | None) -> None:
    """Raise an InputError unless every option's value is finite and at least so much, or strictly more."""
    for name, value in values.items():
        if value is not None and not (at_least <= value < math.inf and not (strictly and value == at_least)):
            allowed = f"above {at_least:g}" if strictly else f"{at_least:g} and more"
            raise InputError(f"--{name.replace('_', '-')} = {value}: allowed: {allowed}, and finite")

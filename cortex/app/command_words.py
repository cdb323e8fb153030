"""Long lists as words of a shell command that bash expands.

A command is one argument of bash, of 128 KB at most on Linux: the paths of a few thousand shards would not fit into it.
"""

import re
from collections.abc import Iterable
from itertools import groupby

SHARD = re.compile(r"(.*/)(\d{6})(\.\w+)")


def ranges(paths: Iterable[str]) -> list[str]:
    """Paths, those of consecutive shards as one word, as in ``train/{000000..000099}.tar``."""
    words = []
    for (before, behind, _), group in groupby(enumerate(paths), lambda item: _parts(*item)):
        numbers = [path[len(before) : len(path) - len(behind)] for _, path in group]
        number = numbers[0] if len(numbers) == 1 else f"{{{numbers[0]}..{numbers[-1]}}}"
        words.append(f"{before}{number}{behind}")
    return words


def _parts(place: int, path: str) -> tuple[str, str, int]:
    """What stands before and behind a shard's number, and what consecutive shards have in common beside these."""
    found = SHARD.fullmatch(path)
    return (found[1], found[3], int(found[2]) - place) if found else (path, "", place)


def repeated(names: Iterable[str | None]) -> list[str]:
    """Names, equal neighbours as one word: ``tis{,,}`` is tis three times."""
    counted = [(name, len(list(group))) for name, group in groupby(names)]
    return [f"{name}{{{',' * (count - 1)}}}" if count > 1 else str(name) for name, count in counted]

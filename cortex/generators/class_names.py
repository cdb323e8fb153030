"""Class names as text: UTF-8, one a line, in the order of the class indices."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cortex.core.errors import InputError


def read_class_names(path: Path) -> list[str]:
    """The names, without surrounding spaces.

    Raises:
        InputError: the file cannot be read, is not UTF-8, has an empty line, or a name begins with a hyphen.
    """
    try:
        names = [name.strip() for name in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error}") from None
    if "" in names:
        raise InputError(f"{path}: line {names.index('') + 1} is empty; expected a class name on every line")
    if options := [line for line, name in enumerate(names, 1) if name.startswith("-")]:
        raise InputError(f"{path}: line {options[0]}: a class name should not begin with a hyphen, as options do")
    return names


def name_classes(path: Path | None, classes: int, generator: Path) -> list[str]:
    """The names in a file, one for each of a generator's classes; without file "class 0", "class 1", ...

    Raises:
        InputError: the file cannot be read, or has another number of names; ``generator`` is named.
    """
    if path is None:
        return [f"class {index}" for index in range(classes)]
    names = read_class_names(path)
    if len(names) != classes:
        raise InputError(f"{path}: {len(names)} names, but the generator of {generator} has {classes} classes")
    return names


def match_names(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """The index in ``names`` of every wanted name; −1 where it is missing.

    Of classes of one name, the first is matched with the first, the second with the second and so on.
    """
    places = {key: index for index, key in enumerate(_numbered(names))}
    return [places.get(key, -1) for key in _numbered(wanted)]


def ambiguous(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Wanted names of several classes of ``names`` of which not all are wanted: which are meant, no name says."""
    known, asked = Counter(names), Counter(wanted)
    return [name for name, count in asked.items() if known[name] > 1 and count != known[name]]


def _numbered(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Every name, and how often it came before."""
    seen: Counter[str] = Counter()
    for name in names:
        yield name, seen[name]
        seen[name] += 1

"""Class names as text: UTF-8, one a line, in the order of the class indices."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from cortex.core.errors import InputError, listed, shown
from cortex.core.text import read_lines


def read_class_names(path: Path) -> list[str]:
    """The names, without surrounding spaces.

    Raises:
        InputError: the file cannot be read, or a line is no name of a class.
    """
    names = []
    for number, line in enumerate(read_lines(path), 1):
        name, where = line.strip(), f"{path}: line {number}"
        if not name:
            raise InputError(f"{where} is empty; expected a class name on every line")
        if name.startswith("-"):
            raise InputError(f"{where}: a class name should not begin with a hyphen, as options do")
        if "\t" in name:
            raise InputError(f"{where}: a class name should not have a tab in it")
        names.append(name)
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
    """Wanted names that several classes of ``names`` have, unless all of these classes are wanted."""
    known, asked = Counter(names), Counter(wanted)
    return [name for name, count in asked.items() if known[name] > 1 and count != known[name]]


def find_class(text: str, names: Sequence[str], labels: Sequence[int], where: str) -> int:
    """The class of an index or a name.

    Args:
        text: the index or the name, or one of the synonyms that a comma parts.
        names: of all classes of the generator, in the order of their indices.
        labels: the classes of the run.
        where: the text comes from, the beginning of errors.

    Raises:
        InputError: there is no such class in the run, or several have that name.
    """
    found = [label for label in labels if str(label) == text] or [
        label for label in labels if text in (names[label], *names[label].split(", "))
    ]
    if len(found) > 1:
        raise InputError(f"{where}{shown(text)}: the name of classes {listed(list(map(str, found)))}; give the index")
    if not found:
        known = [f"{label} ({names[label]})" for label in labels]
        raise InputError(f"{where}{shown(text)}: no such class; classes: {listed(known, 10)}")
    return found[0]


def _numbered(names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Every name, and how often it came before."""
    seen: Counter[str] = Counter()
    for name in names:
        yield name, seen[name]
        seen[name] += 1

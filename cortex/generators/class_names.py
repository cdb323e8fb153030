"""Class names as text: UTF-8, one a line, in the order of the class indices."""

from pathlib import Path

from cortex.core.errors import InputError


def read_class_names(path: Path) -> list[str]:
    """The names, without surrounding spaces.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has an empty line.
    """
    try:
        names = [name.strip() for name in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text: {error}") from None
    if "" in names:
        raise InputError(f"{path}: line {names.index('') + 1} is empty; expected a class name on every line")
    return names

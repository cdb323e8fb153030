"""Registries: names of a kind of thing, each a lazy reference, open to other packages.

An entry is a name and a reference ``package.module:Attribute``, which is imported when the entry is asked for.
Other packages add entries by entry points of a group: ``cortex.extractors``, ``cortex.studies``. A reference is a
name of its own, too: a config may say ``network: my_module:MLP`` of a module that Python can import.
"""

import importlib
import os
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError, reason_of, shown

ALLOWED = "CORTEX_NETWORKS"
REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


def allowed_references() -> list[str]:
    """References that the environment variable ``CORTEX_NETWORKS`` allows to import."""
    return os.environ.get(ALLOWED, "").split()


class Registry:
    """Names of one kind.

    Args:
        kind: singular, as error messages and the entry points' group name it.
        entries: name → reference of those that this package has.
    """

    def __init__(self, kind: str, entries: Mapping[str, str]):
        self.kind, self._entries = kind, dict(entries)
        self._plug_ins: dict[str, str] | None = None

    def names(self) -> list[str]:
        """All names: this package's in their order, then those of other packages."""
        return [*self._entries, *(name for name in self._found() if name not in self._entries)]

    def reference(self, name: str) -> str:
        """The reference ``module:Attribute`` of a name; a reference is its own.

        Raises:
            InputError: there is no such name.
        """
        if name in self._entries:
            return self._entries[name]
        if name in self._found():
            return self._found()[name]
        if REFERENCE.fullmatch(name):
            return name
        known = ", ".join(self.names())
        raise InputError(f"{self.kind} {shown(name)}: allowed: {known}, or module:Attribute of a module of your own")

    def load(self, name: str) -> Any:
        """What a name refers to.

        Raises:
            InputError: there is no such name, or what it refers to cannot be imported.
        """
        reference = self.reference(name)
        module, _, attribute = reference.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise InputError(f"{self.kind} {shown(name)}: {reference} cannot be imported: {reason_of(error)}") from None

    def check_function(self, name: str) -> str:
        """The name itself, if it is registered, or refers to a function. No registered name is imported.

        Raises:
            InputError: it is neither.
        """
        if name not in self.names():
            found = self.load(name)
            if isinstance(found, type) or not callable(found):
                kind = type(found).__name__
                raise InputError(f"{self.kind} {shown(name)}: no {self.kind}: a {kind}, not a function")
        return name

    def check_stated(self, name: str, path: Path) -> None:
        """Raise an InputError unless a name that a file states may be loaded.

        The file may come from elsewhere, and to import a module is to run it. So a reference has to be allowed, by the
        environment variable ``CORTEX_NETWORKS``: references, separated by spaces. Registered names always are.

        Args:
            name: as the file states it.
            path: the file.
        """
        if name in self.names() or name in allowed_references():
            return
        if not REFERENCE.fullmatch(name):
            raise InputError(f"{path}: {self.kind} {shown(name)}: allowed: {', '.join(self.names())}")
        raise InputError(
            f"{path}: its {self.kind} is {shown(name)}, which is imported only if the environment variable {ALLOWED} "
            "names it"
        )

    def _found(self) -> dict[str, str]:
        if self._plug_ins is None:
            points = metadata.entry_points(group=f"cortex.{_plural(self.kind)}")
            self._plug_ins = {point.name: point.value for point in points}
        return self._plug_ins


def _plural(kind: str) -> str:
    return f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"

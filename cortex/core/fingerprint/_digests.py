"""Digests of definitions and of all that they reach."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from cortex.core.fingerprint._definitions import EFFECTS, WHOLE, Definitions
from cortex.core.fingerprint._modules import Definition, InModule, Modules


class Code:
    """The code of some packages, as it lies on the disk when it is first asked for.

    Args:
        roots: for each top-level package or module, the folders or the file that it is in.
    """

    def __init__(self, roots: Mapping[str, Iterable[Path]]):
        self.modules = Modules(roots)
        self._definitions = Definitions(self.modules)
        self._digests: dict[Definition, str] = {}

    def find(self, reference: str) -> Definition:
        """The definition that ``module:name`` refers to, re-exports followed; a module refers to all of it.

        Raises:
            ValueError: no such definition.
        """
        module, _, name = reference.partition(":")
        if (found := self.modules.get(module)) is None:
            raise ValueError(f"{reference}: no such module")
        if not name:
            return Definition(module, WHOLE)
        target = self.modules.look_up(found, name)
        if isinstance(target, InModule):
            return Definition(target.module, WHOLE)
        if not isinstance(target, Definition):
            raise ValueError(f"{reference}: the module defines no such name")
        return target

    def reached(self, *references: str) -> set[Definition]:
        """All definitions that the references reach, and the effects of all modules that are loaded with them."""
        reached: set[Definition] = set()
        todo = [self.find(reference) for reference in references]
        while todo:
            while todo:
                if (definition := todo.pop()) not in reached:
                    reached.add(definition)
                    todo += self._definitions.content(definition).refers
            needed = {definition.module for definition in reached}
            needed |= {name for definition in reached for name in self._definitions.content(definition).loads}
            effects = {
                Definition(name, EFFECTS) for name in self.modules.loaded_with(needed) if self._has_effects(name)
            }
            todo = list(effects - reached)
        return reached

    def _has_effects(self, name: str) -> bool:
        module = self.modules.get(name)
        return module is not None and bool(module.effects)

    def digest(self, *references: str) -> str:
        """16 hexadecimal digits that change with any definition or effect that the references reach."""
        counted = {self.find(reference) for reference in references}
        counted |= {definition for definition in self.reached(*references) if definition.name == EFFECTS}
        return _hash(*sorted({self._digest(definition) for definition in counted}))[:16]

    def _digest(self, definition: Definition) -> str:
        """SHA-256 of a definition's text with the digests of all that it refers to in their places."""
        if definition not in self._digests:
            for circle in self._circles(definition):
                self._digests |= self._digest_circle(circle)
        return self._digests[definition]

    def _digest_circle(self, circle: list[Definition]) -> dict[Definition, str]:
        """Definitions that refer to each other: their names stand for them within the circle."""
        circle = sorted(circle, key=lambda definition: (definition.name, definition.module))
        names = {definition: f"{place} of the circle" for place, definition in enumerate(circle)}
        own = {}
        for definition in circle:
            content = self._definitions.content(definition)
            own[definition] = _hash(content.text, *(names.get(to) or self._digests[to] for to in content.refers))
        if len(circle) == 1:
            return own
        return {definition: _hash(digest, *sorted(own.values())) for definition, digest in own.items()}

    def _circles(self, start: Definition) -> Iterator[list[Definition]]:
        """Strongly connected parts of the graph of references, each after all that it refers to (Tarjan, 1972)."""
        order: dict[Definition, int] = {start: 0}
        low = {start: 0}
        stack, waiting = [start], {start}
        path = [(start, iter(self._definitions.content(start).refers))]
        while path:
            here, following = path[-1]
            for to in following:
                if to in self._digests:
                    continue
                if to not in order:
                    order[to] = low[to] = len(order)
                    stack.append(to)
                    waiting.add(to)
                    path.append((to, iter(self._definitions.content(to).refers)))
                    break
                if to in waiting:
                    low[here] = min(low[here], order[to])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[here])
                if low[here] == order[here]:
                    place = stack.index(here)
                    circle = stack[place:]
                    del stack[place:]
                    waiting -= set(circle)
                    yield circle


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

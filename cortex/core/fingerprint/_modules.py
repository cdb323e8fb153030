"""What the modules of some packages define and import at their top level, found without importing any."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cortex.core.fingerprint._normal_form import last_name, only_for_types, only_tells, walk

OF_EVERY_MODULE = {"__name__", "__file__", "__doc__", "__path__", "__package__", "__spec__"}
BLOCKS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.TryStar, ast.Match)


@dataclass(frozen=True)
class Alias:
    """A name bound by an import: to a module, or to a name in it."""

    module: str
    name: str | None


@dataclass(frozen=True, order=True)
class Definition:
    """A name in a module that a statement of the module's binds."""

    module: str
    name: str


@dataclass(frozen=True)
class InModule:
    """A module as a whole, one of those that are analysed."""

    module: str


@dataclass(frozen=True)
class External:
    """A name of a package that is not analysed, from the package on."""

    dotted: str


Target = Definition | InModule | External
Binding = Alias | ast.stmt


@dataclass
class Module:
    """The top level of a module."""

    name: str
    package: str  # that relative imports start from
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    effects: list[ast.stmt] = field(default_factory=list)  # statements that do more than bind names
    loads: set[str] = field(default_factory=set)  # modules that are imported with this one
    stars: list[str] = field(default_factory=list)  # modules of which all names are imported

    def base(self, node: ast.ImportFrom) -> str:
        """The module that names are imported from."""
        if not node.level:
            return node.module or ""
        parts = self.package.split(".")
        return ".".join(parts[: len(parts) - node.level + 1] + ([node.module] if node.module else []))

    def imports(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Alias]]:
        """The names that an import binds, stars apart, with what they are bound to."""
        if isinstance(node, ast.ImportFrom):
            base = self.base(node)
            yield from ((alias.asname or alias.name, Alias(base, alias.name)) for alias in node.names)
        else:
            for alias in node.names:
                top = alias.name.partition(".")[0]
                yield (alias.asname, Alias(alias.name, None)) if alias.asname else (top, Alias(top, None))

    def loaded(self, node: ast.Import | ast.ImportFrom) -> set[str]:
        """Modules that an import may load."""
        if isinstance(node, ast.Import):
            return {alias.name for alias in node.names}
        base = self.base(node)
        return {base} | {f"{base}.{alias.name}" for alias in node.names}

    def add(self, statements: Iterable[ast.stmt]) -> None:
        """Take in statements of the top level.

        A module with a function ``__getattr__`` provides the imports of its ``if TYPE_CHECKING`` when they are used.
        """
        statements = list(statements)
        lazy = any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in statements)
        for node in statements:
            match node:
                case ast.If(body=body) if lazy and only_for_types(node):
                    self._add_lazy_imports(body)
                case ast.Import() | ast.ImportFrom():
                    self._add_import(node)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    self._bind(name, node)
                case ast.If() if only_for_types(node) or _is_main(node):
                    self.add(node.orelse)
                case ast.AnnAssign(value=None) | ast.Pass():
                    pass
                case _ if only_tells(node):
                    pass
                case _:
                    self._add_other(node)

    def _bind(self, name: str, binding: Binding) -> None:
        bindings = self.bindings.setdefault(name, [])
        if binding not in bindings:
            bindings.append(binding)

    def _add_import(self, node: ast.Import | ast.ImportFrom) -> None:
        self.loads |= self.loaded(node)
        for name, alias in self.imports(node):
            if alias.name == "*":
                self.stars.append(alias.module)
            else:
                self._bind(name, alias)

    def _add_lazy_imports(self, statements: Iterable[ast.stmt]) -> None:
        """Bind the names of imports without loading their modules with this one."""
        for node in statements:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for name, alias in self.imports(node):
                    self._bind(name, alias)

    def _add_other(self, node: ast.stmt) -> None:
        for part in _executed(node):
            if isinstance(part, (ast.Import, ast.ImportFrom)):
                self.loads |= self.loaded(part)
                for name, alias in self.imports(part):
                    self._bind(name, node) if alias.name != "*" else self.stars.append(alias.module)
        for name in sorted(set(bound_names(node))):
            self._bind(name, node)
        if any(_has_effect(part) for part in _executed(node)):
            self.effects.append(node)


def _is_main(node: ast.If) -> bool:
    """Whether the statement is ``if __name__ == …:``, which is for the module that is run, not for one imported."""
    return isinstance(node.test, ast.Compare) and last_name(node.test.left) == "__name__"


def _executed(node: ast.stmt) -> Iterator[ast.stmt]:
    """The statement and those in it that are executed with it: no bodies of functions and classes."""
    yield node
    if isinstance(node, BLOCKS):
        for part in ast.iter_child_nodes(node):
            if isinstance(part, ast.stmt):
                yield from _executed(part)
            elif isinstance(part, (ast.ExceptHandler, ast.match_case)):
                for inner in part.body:
                    yield from _executed(inner)


def _has_effect(node: ast.stmt) -> bool:
    """Whether a statement does more than bind names."""
    match node:
        case ast.Assign(targets=targets):
            return not all(isinstance(part, (ast.Name, ast.Tuple, ast.List, ast.Starred)) for part in targets)
        case ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return not isinstance(target, ast.Name)
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return False
        case ast.Expr() if only_tells(node):
            return False
    return not isinstance(node, (ast.If, ast.Try, ast.Pass, getattr(ast, "TypeAlias", ast.Pass)))


def bound_names(node: ast.AST) -> Iterator[str]:
    """Names that a statement binds in its own scope, imports apart."""
    todo = [node]
    while todo:
        node = todo.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
                continue
            case ast.Name() | ast.Constant() | ast.Lambda() | ast.Import() | ast.ImportFrom():
                continue
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                yield from (part.target.id for part in walk(node) if isinstance(part, ast.NamedExpr))
                continue
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name
            case ast.MatchMapping(rest=str(name)):
                yield name
        for field_name in node._fields:
            value = getattr(node, field_name, None)
            if isinstance(value, ast.AST):
                todo.append(value)
            elif isinstance(value, list):
                todo += [part for part in value if isinstance(part, ast.AST)]


class Modules:
    """Modules of some packages, read when they are asked for.

    Args:
        roots: for each top-level package or module, the folders or the file that it is in.
    """

    def __init__(self, roots: Mapping[str, Iterable[Path]]):
        self._roots = {name: tuple(paths) for name, paths in roots.items()}
        self._read: dict[str, Module | None] = {}

    def get(self, name: str) -> Module | None:
        """The module of this name; None where there is none, or it is not analysed."""
        if name not in self._read:
            self._read[name] = self._find(name)
        return self._read[name]

    def _find(self, name: str) -> Module | None:
        top, *inner = name.split(".")
        for root in self._roots.get(top, ()):
            base = root.joinpath(*inner)
            for path in (base / "__init__.py", base.with_name(f"{base.name}.py") if inner else base):
                if path.is_file():
                    module = Module(name, name if path.name == "__init__.py" else name.rpartition(".")[0])
                    module.add(ast.parse(path.read_bytes(), path).body)
                    return module
            if base.is_dir():
                return Module(name, name)  # a package without __init__.py
        return None

    def look_up(self, module: Module, name: str) -> Target | None:
        """A name as the code of a module reads it; None for a builtin, and for a name that is nowhere."""
        return self.member(module.name, name) if name in module.bindings else None

    def member(self, module: str, name: str, passed: frozenset[Definition] = frozenset()) -> Target | None:
        """A name in a module, re-exports followed; all of the module where nobody sees who defines it."""
        found, here = self.get(module), Definition(module, name)
        if found is None:
            return External(f"{module}.{name}")
        bindings = found.bindings.get(name, [])
        if len(bindings) == 1 and isinstance(bindings[0], Alias) and here not in passed:
            return self.follow(bindings[0], passed | {here})
        if bindings:
            return here
        if self.get(f"{module}.{name}") is not None:
            return InModule(f"{module}.{name}")
        return None if name in OF_EVERY_MODULE else Definition(module, "*")

    def follow(self, alias: Alias, passed: frozenset[Definition] = frozenset()) -> Target | None:
        """What an import binds a name to."""
        if alias.name is not None:
            return self.member(alias.module, alias.name, passed)
        return External(alias.module) if self.get(alias.module) is None else InModule(alias.module)

    def loaded_with(self, modules: Iterable[str]) -> set[str]:
        """The modules, and all that are imported when they are."""
        loaded: set[str] = set()
        todo = list(modules)
        while todo:
            name = todo.pop()
            if name in loaded or (module := self.get(name)) is None:
                continue
            loaded.add(name)
            todo += [*module.loads, name.rpartition(".")[0]]
        return loaded

    def bindings(self, target: Target | None) -> Iterator[tuple[Module, Binding]]:
        """The statements that bind the name that a target is, with their module."""
        if isinstance(target, Definition) and (module := self.get(target.module)) is not None:
            yield from ((module, binding) for binding in module.bindings.get(target.name, []))

    def classes(self, target: Target | None) -> Iterator[tuple[Module, ast.ClassDef]]:
        """The classes that a target is, with their module."""
        for module, binding in self.bindings(target):
            if isinstance(binding, ast.ClassDef):
                yield module, binding

    def derives(self, module: Module, node: ast.ClassDef, base: str, passed: frozenset[str] = frozenset()) -> bool:
        """Whether a class derives from one of this name, directly or not."""
        passed |= {node.name}
        for expression in node.bases:
            if last_name(expression) == base:
                return True
            for there, above in self.classes(self.target(module, expression)):
                if above.name not in passed and self.derives(there, above, base, passed):
                    return True
        return False

    def target(self, module: Module, node: ast.expr) -> Target | None:
        """What an expression of names and dots stands for at the top level of a module."""
        match node:
            case ast.Name(id=name) | ast.Constant(value=str(name)):  # a type may be named by a text
                return self.look_up(module, name)
            case ast.Attribute(value=value, attr=attr):
                return self.attribute(self.target(module, value), attr)
        return None

    def attribute(self, target: Target | None, attr: str) -> Target | None:
        """An attribute of what a name stands for, where it is a module's; else None."""
        match target:
            case InModule(module=module):
                return self.member(module, attr)
            case External(dotted=dotted):
                return External(f"{dotted}.{attr}")
        return None

"""The text of every definition, with numbers for the definitions that it refers to instead of their names."""

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeGuard

from cortex.core.fingerprint._modules import Alias, Definition, External, InModule, Module, Modules, Target, bound_names
from cortex.core.fingerprint._normal_form import Function, first_name, is_builtin_exception, last_name, normalise, walk

WHOLE, EFFECTS = "*", "!"  # of a module, beside the names in it
UNCOUNTED = {"__all__", "__version__"}
VERSIONS = ("RESULTS_VERSION", "results_version")
UNWRITTEN = {"annotation", "ctx", "kind", "returns", "type_comment", "type_params"}
IMPORTERS = {"import_module", "__import__"}

Scope = dict[str, list[Target]]  # local name → what local imports bind it to, nothing for other names


@dataclass
class Content:
    """The text of a definition, in which ``@0``, ``@1``, … stand for the definitions that it refers to."""

    text: str = ""
    refers: list[Definition] = field(default_factory=list)
    loads: set[str] = field(default_factory=set)  # modules that it imports when it is called


class Definitions:
    """The contents of definitions, each worked out once."""

    def __init__(self, modules: Modules):
        self.modules = modules
        self._contents: dict[Definition, Content] = {}

    def content(self, definition: Definition) -> Content:
        """Text and references of a definition, of a module's effects, or of a module as a whole."""
        if definition not in self._contents:
            self._contents[definition] = Content()  # for settings whose fields are settings of their own kind
            self._contents[definition] = self._work_out(definition)
        return self._contents[definition]

    def _work_out(self, definition: Definition) -> Content:
        module = self.modules.get(definition.module)
        # Fingerprints are compared, never computed with: what this package says of others is no part of a result.
        if module is None or definition.name in UNCOUNTED or module.package == __package__:
            return Content()
        writer = _Writer(self, module)
        if definition.name == WHOLE:
            for name in sorted(module.bindings.keys() - UNCOUNTED):
                writer.write(name)
                writer.write_targets(self.modules.member(module.name, name))
        elif definition.name == EFFECTS:
            for statement in module.effects:
                writer.write(normalise(statement, writer.is_exception))
        else:
            for binding in module.bindings[definition.name]:
                writer.write_binding(definition.name, binding)
            if definition.name not in VERSIONS:
                writer.refer_to(Definition(module.name, name) for name in VERSIONS if name in module.bindings)
        writer.refer_to(Definition(star, WHOLE) for star in module.stars if self.modules.get(star) is not None)
        return writer.content()

    def is_exception(self, module: Module, node: ast.expr) -> bool:
        """Whether an expression names an exception: Python's own, or a class of an analysed module that is one."""
        target = self.modules.target(module, node)
        if target is None:
            return isinstance(node, ast.Name) and is_builtin_exception(node.id)
        classes = self.modules.classes(target)
        return any(self.is_exception(there, base) for there, found in classes for base in found.bases)

    def is_settings(self, module: Module, node: ast.ClassDef) -> bool:
        """Whether a class is a section of the config: pydantic's ``Section``, or derived from a class of that name."""
        derives = self.modules.derives
        return derives(module, node, "Section") or (node.name == "Section" and derives(module, node, "BaseModel"))

    def names_settings(self, module: Module, node: ast.expr) -> bool:
        """Whether an expression names a section of the config."""
        return any(self.is_settings(*found) for found in self.modules.classes(self.modules.target(module, node)))

    def settings_in(self, module: Module, annotation: ast.expr) -> Iterator[Definition]:
        """The sections of the config with code, and the dataclasses, that an annotation names.

        The command line makes both of its options. Aliases of types are followed.
        """
        todo: list[tuple[Module, ast.expr]] = [(module, annotation)]
        passed: set[Definition] = set()
        while todo:
            here, expression = todo.pop()
            for node in filter(_may_name_a_class, walk(expression)):
                target = self.modules.target(here, node)
                if not isinstance(target, Definition) or target in passed:
                    continue
                passed.add(target)
                if self.names_settings(here, node):
                    content = self.content(target)
                    if content.text or content.refers:
                        yield target
                elif any(_is_dataclass(found) for _, found in self.modules.classes(target)):
                    yield target
                else:
                    values = (
                        (there, getattr(binding, "value", None)) for there, binding in self.modules.bindings(target)
                    )
                    todo += [(there, value) for there, value in values if isinstance(value, ast.expr)]


def _is_dataclass(node: ast.ClassDef) -> bool:
    decorators = (part.func if isinstance(part, ast.Call) else part for part in node.decorator_list)
    return any(last_name(decorator) == "dataclass" for decorator in decorators)


def _may_name_a_class(node: ast.AST) -> TypeGuard[ast.expr]:
    return isinstance(node, (ast.Name, ast.Attribute, ast.Constant))


class _Writer:
    """Writes statements of a module's top level, their names resolved."""

    def __init__(self, definitions: Definitions, module: Module):
        self._definitions, self._modules, self._module = definitions, definitions.modules, module
        self._text: list[str] = []
        self._numbers: dict[Definition, int] = {}
        self._loads: set[str] = set()
        self._scopes: list[Scope] = []  # of the functions around, the innermost last
        self._typed = False  # within a class whose fields convert their values to their types
        self._writers: dict[type[ast.AST], Callable[[Any], None]] = {
            ast.Name: self._name,
            ast.Attribute: self._attribute,
            ast.Call: self._call,
            ast.Import: self._import,
            ast.ImportFrom: self._import,
            ast.FunctionDef: self._function,
            ast.AsyncFunctionDef: self._function,
            ast.Lambda: self._lambda,
            ast.ListComp: self._comprehension,
            ast.SetComp: self._comprehension,
            ast.DictComp: self._comprehension,
            ast.GeneratorExp: self._comprehension,
            ast.arg: self._parameter,
            ast.ClassDef: self._class,
            ast.AnnAssign: self._field,
        }

    def content(self) -> Content:
        """What was written."""
        return Content("".join(self._text), list(self._numbers), self._loads)

    def is_exception(self, node: ast.expr) -> bool:
        """Whether an expression of this module names an exception."""
        return self._definitions.is_exception(self._module, node)

    def refer_to(self, definitions: Iterable[Definition]) -> None:
        """Write references."""
        for definition in definitions:
            self._text.append(f"@{self._numbers.setdefault(definition, len(self._numbers))},")

    def write_targets(self, *targets: Target | None) -> None:
        """Write references to what a name may stand for."""
        for target in targets:
            match target:
                case Definition():
                    self.refer_to([target])
                case InModule(module=module):  # as a value: any of its names may be meant
                    self.refer_to([Definition(module, WHOLE)])
                case External(dotted=dotted):
                    self._text.append(f"<{dotted}>,")
                    if dotted == "sys.modules":
                        self.refer_to([Definition(self._module.name, WHOLE)])

    def write_binding(self, name: str, node: Alias | ast.stmt) -> None:
        """Write a statement that binds a name of the top level; the name itself only where others are bound, too."""
        match node:
            case Alias():
                self.write_targets(self._modules.follow(node))
            case (
                ast.Assign(targets=[ast.Name()], value=value)
                | ast.AnnAssign(target=ast.Name(), value=ast.expr() as value)
            ):
                if not (isinstance(value, ast.Call) and last_name(value.func) == "getLogger"):
                    self.write(normalise(_without_entries(value), self.is_exception))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                normalise(node, self.is_exception)
                self._function(node, without={"name"})
            case ast.ClassDef():
                self.write(normalise(node, self.is_exception))
            case _:
                self.write(name)
                self.write(normalise(node, self.is_exception))

    # --- nodes ----------------------------------------------------------------------------------------------------

    def write(self, value: object) -> None:
        """Write a node, a list of them, or a constant."""
        if isinstance(value, ast.AST):
            self._writers.get(type(value), self._node)(value)
        elif isinstance(value, list):
            self._text.append("[")
            for part in value:
                self.write(part)
            self._text.append("],")
        else:
            self._text.append(f"{value!r},")

    def _node(self, node: ast.AST, without: Iterable[str] = ()) -> None:
        self._text.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            if value is not None and value != [] and name not in UNWRITTEN and name not in without:
                self._text.append(f"{name}=")
                self.write(value)
        self._text.append("),")

    def _look_up(self, name: str) -> list[Target]:
        """What a name may stand for outside the functions around; nothing for a local name, or a builtin."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        target = self._modules.look_up(self._module, name)
        return [] if target is None else [target]

    def _targets(self, node: ast.expr) -> list[Target]:
        match node:
            case ast.Name(id=name):
                return self._look_up(name)
            case ast.Attribute(value=value, attr=attr):
                found = [self._modules.attribute(target, attr) for target in self._targets(value)]
                return [target for target in found if target is not None]
        return []

    def _name(self, node: ast.Name) -> None:
        targets = self._look_up(node.id) if self._scopes or isinstance(node.ctx, ast.Load) else []
        self.write_targets(*targets)
        if not targets:
            self._node(node)
            if node.id == "globals":
                self.refer_to([Definition(self._module.name, WHOLE)])

    def _attribute(self, node: ast.Attribute) -> None:
        targets = self._targets(node)
        self.write_targets(*targets)
        if not targets:
            self._node(node)

    def _call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if last_name(function) in IMPORTERS:
                if self._modules.get(name) is not None:
                    self._loads.add(name)
                    self.refer_to([Definition(name, WHOLE)])
                    return
        self._node(node)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        """An import in a block of the top level; one in a function is seen where its names are."""
        if not self._scopes:
            self.write_targets(*(self._modules.follow(alias) for _, alias in self._module.imports(node)))

    # --- scopes ---------------------------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, without: Iterable[str] = ()) -> None:
        self._node(node, without={"body", *without})
        scope = _local(_parameters(node.args))
        kept_out: set[str] = set()
        for part in node.body:
            scope |= _local(bound_names(part))
        for inner in _own_statements(node.body):
            if isinstance(inner, (ast.Import, ast.ImportFrom)):
                self._loads |= self._module.loaded(inner)
                for name, alias in self._module.imports(inner):
                    target = self._modules.follow(alias)
                    scope[name] = scope.get(name, []) + ([] if target is None else [target])
            elif isinstance(inner, (ast.Global, ast.Nonlocal)):
                kept_out |= set(inner.names)
        self._within({name: targets for name, targets in scope.items() if name not in kept_out}, node.body)

    def _within(self, scope: Scope, value: object) -> None:
        self._scopes.append(scope)
        self.write(value)
        self._scopes.pop()

    def _lambda(self, node: ast.Lambda) -> None:
        self._node(node, without={"body"})
        self._within(_local([*_parameters(node.args), *bound_names(node.body)]), node.body)

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        self._scopes.append(_local(name for part in node.generators for name in bound_names(part.target)))
        self._node(node)
        self._scopes.pop()

    def _parameter(self, node: ast.arg) -> None:
        self._node(node)
        if node.annotation is not None:
            self.refer_to(self._definitions.settings_in(self._module, node.annotation))

    def _class(self, node: ast.ClassDef) -> None:
        if self._definitions.is_settings(self._module, node):
            self._settings(node)
            return
        outside, self._typed = self._typed, self._modules.derives(self._module, node, "BaseModel")
        self._node(node)
        self._typed = outside

    def _field(self, node: ast.AnnAssign) -> None:
        """A field of a class; its type counts where it converts values."""
        self._node(node)
        if self._typed:
            self.write(node.annotation)
        else:
            self.refer_to(self._definitions.settings_in(self._module, node.annotation))

    def _settings(self, node: ast.ClassDef) -> None:
        """Of a section of the config: no fields, which are parameters of the rules; but its methods."""
        for part in node.body:
            match part:
                case ast.FunctionDef(decorator_list=decorators) if any(map(_validates, decorators)):
                    pass
                case ast.AnnAssign(annotation=annotation) if first_name(_subscripted(annotation)) != "ClassVar":
                    self.refer_to(self._definitions.settings_in(self._module, annotation))
                case ast.Assign(targets=[ast.Name(id="model_config")]):
                    pass
                case _:
                    self.write(part)
        for base in node.bases:
            if self._definitions.names_settings(self._module, base):
                self.refer_to(self._definitions.settings_in(self._module, base))
            elif last_name(base) not in ("Section", "BaseModel"):
                self.write(base)


def _local(names: Iterable[str]) -> Scope:
    return {name: [] for name in names}


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    for part in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if part is not None:
            yield part.arg


def _own_statements(statements: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Statements of a function's body, those of functions in it apart."""
    for node in statements:
        yield node
        if not isinstance(node, Function):
            for name in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from _own_statements(getattr(node, name, ()))


def _subscripted(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Subscript) else node


def _validates(decorator: ast.expr) -> bool:
    """Whether a decorator makes a method one that only checks what is set."""
    return last_name(decorator.func if isinstance(decorator, ast.Call) else decorator).endswith("validator")


def _without_entries(node: ast.expr) -> ast.expr:
    """A registry without its entries: a rule refers to those that its jobs use."""
    match node:
        case ast.Call(func=function) if last_name(function) == "Registry":
            node.args = [argument for argument in node.args if not _maps_texts(argument)]
    return node


def _maps_texts(node: ast.expr) -> bool:
    parts = [*node.keys, *node.values] if isinstance(node, ast.Dict) else [None]
    return all(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts)

"""Statements without the parts that compute nothing: messages, logs, docstrings, and names made for them alone."""

import ast
import builtins
from collections.abc import Callable, Iterator

Function = (ast.FunctionDef, ast.AsyncFunctionDef)
LOGGERS = {"log", "logger", "logging"}
LOGGING = {"basicConfig", "critical", "debug", "error", "exception", "info", "log", "setLevel", "warning"}
# Calls without effects, as far as anybody writes them for a message.
PURE_FUNCTIONS = {
    *("bool", "dict", "enumerate", "float", "frozenset", "int", "len", "list", "map", "max", "min", "range", "repr"),
    *("reversed", "round", "set", "sorted", "str", "sum", "tuple", "type", "zip"),
}
PURE_METHODS = {
    *("capitalize", "format", "get", "items", "join", "keys", "lower", "partition", "removeprefix", "removesuffix"),
    *("rpartition", "rsplit", "split", "splitlines", "strip", "title", "upper", "values"),
}
PURE_NODES = (
    ast.Attribute,
    ast.BinOp,
    ast.BoolOp,
    ast.Compare,
    ast.Constant,
    ast.Dict,
    ast.DictComp,
    ast.FormattedValue,
    ast.GeneratorExp,
    ast.IfExp,
    ast.JoinedStr,
    ast.Lambda,
    ast.List,
    ast.ListComp,
    ast.Name,
    ast.Set,
    ast.SetComp,
    ast.Slice,
    ast.Starred,
    ast.Subscript,
    ast.Tuple,
    ast.UnaryOp,
)
GRAMMAR = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop, ast.comprehension, ast.keyword)
SIGNATURE = (ast.arguments, ast.arg)
BINDS_OR_WAITS = (ast.NamedExpr, ast.Await, ast.Yield, ast.YieldFrom)
SEES_NAMES = {"locals", "vars", "eval", "exec"}


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """The node and all within it, as :func:`ast.walk` gives them in another order, in half the time."""
    todo = [node]
    while todo:
        node = todo.pop()
        yield node
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, ast.AST):
                todo.append(value)
            elif isinstance(value, list):
                todo += [part for part in value if isinstance(part, ast.AST)]


def last_name(node: ast.AST) -> str:
    """``c`` of ``c``, ``b.c`` and ``a.b.c``; empty for other expressions."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def first_name(node: ast.AST) -> str:
    """``a`` of ``a``, ``a.b``, ``a.b(…).c``; empty for other expressions."""
    while isinstance(node, (ast.Attribute, ast.Call)):
        node = node.value if isinstance(node, ast.Attribute) else node.func
    return node.id if isinstance(node, ast.Name) else ""


def is_builtin_exception(name: str) -> bool:
    """Whether the name is that of an exception of Python's own."""
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)


def only_for_types(node: ast.stmt) -> bool:
    """Whether the statement is ``if TYPE_CHECKING:``."""
    return isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING"


def only_tells(node: ast.stmt) -> bool:
    """Whether the statement is a bare constant, or a call that writes to a log, a terminal, or a warning."""
    match node:
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="warn"))) if first_name(node.value) == "warnings":
            return not _binds_or_waits(node)
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr=name))) if first_name(node.value) in LOGGERS:
            return name in LOGGING and not _binds_or_waits(node)
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"), keywords=keywords)):
            to = [word.value for word in keywords if word.arg in ("file", None)]
            return all(last_name(place) in ("stdout", "stderr") for place in to) and not _binds_or_waits(node)
    return False


def normalise(node: ast.AST, is_exception: Callable[[ast.expr], bool]) -> ast.AST:
    """A statement or expression without the parts that compute nothing; it is changed in place, and may become empty.

    Args:
        is_exception: whether an expression names an exception's class.
    """
    cleaned = _Cleaner(is_exception).visit(node)
    return cleaned if isinstance(cleaned, ast.AST) else ast.Module(body=cleaned or [], type_ignores=[])


class _Cleaner(ast.NodeTransformer):
    def __init__(self, is_exception: Callable[[ast.expr], bool]):
        self._is_exception = is_exception
        self._inside_function = False

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.AST:
        outermost, self._inside_function = not self._inside_function, True
        self.generic_visit(node)
        if outermost:
            self._inside_function = False
            _drop_unused(node)
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self.visit_FunctionDef(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """An annotated name in a class is a field: it stays, in its place."""
        inside, self._inside_function = self._inside_function, False
        body: list[ast.stmt] = []
        for part in node.body:
            if isinstance(part, ast.AnnAssign):
                part.value = self.visit(part.value) if part.value is not None else None
                body.append(part)
            elif (cleaned := self.visit(part)) is not None:
                body += cleaned if isinstance(cleaned, list) else [cleaned]
        node.body = body
        node.bases = [self.visit(base) for base in node.bases]
        node.decorator_list = [self.visit(decorator) for decorator in node.decorator_list]
        self._inside_function = inside
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self.generic_visit(ast.Assign(targets=[node.target], value=node.value))

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if only_tells(node) else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        return node.orelse if only_for_types(node) else node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        node.msg = None
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        node.cause = None
        match node.exc:
            case ast.Call(func=kind) if last_name(kind) != "SystemExit" and not _binds_or_waits(node.exc):
                node.exc = kind
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if last_name(node.func) != "SystemExit" and self._is_exception(node.func) and not _binds_or_waits(node):
            return self.visit(node.func)
        if last_name(node.func) == "progress":
            node.args = [argument for argument in node.args if not _is_text(argument)]
            node.keywords = [keyword for keyword in node.keywords if not _is_text(keyword.value)]
        return self.generic_visit(node)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _binds_or_waits(node: ast.AST) -> bool:
    return any(isinstance(part, BINDS_OR_WAITS) for part in walk(node))


def _is_pure(node: ast.AST) -> bool:
    """Whether evaluating the expression has no effect but its value; calls only of what is known by name."""
    for part in walk(node):
        match part:
            case ast.Call(func=ast.Name(id="map"), args=[ast.Name(id=name), *_]) if name in PURE_FUNCTIONS - {"map"}:
                pass
            case ast.Call(func=ast.Name(id=name)) if name in PURE_FUNCTIONS - {"map"}:
                if any(word.arg == "key" and not isinstance(word.value, ast.Lambda) for word in part.keywords):
                    return False
            case ast.Call(func=ast.Attribute(attr=name)) if name in PURE_METHODS:
                pass
            case ast.Call():
                return False
            case _ if not isinstance(part, PURE_NODES + GRAMMAR + SIGNATURE):
                return False
    return True


def _drop_unused(function: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Remove assignments to names that the function never reads, until none is left; their values have no effects."""
    changed = True
    while changed:
        used = set(_names_used(function))
        changed = not used & SEES_NAMES and _drop_in(function, used)


def _names_used(function: ast.AST) -> Iterator[str]:
    for node in walk(function):
        match node:
            case ast.Name(id=name, ctx=ast.Load() | ast.Del()) | ast.AugAssign(target=ast.Name(id=name)):
                yield name
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                yield from names


def _drop_in(node: ast.AST, used: set[str]) -> bool:
    """Drop from every list of statements in the node, those of classes apart; whether anything was dropped."""
    changed = False
    for field, value in ast.iter_fields(node):
        if not isinstance(value, list):
            continue
        kept = [part for part in value if not (isinstance(part, ast.stmt) and _is_unused(part, used))]
        if len(kept) != len(value):
            setattr(node, field, kept)
            changed = True
        for part in kept:
            if isinstance(part, ast.ExceptHandler) and part.name is not None and part.name not in used:
                part.name = None
                changed = True
            if isinstance(part, (ast.stmt, ast.ExceptHandler, ast.match_case)) and not isinstance(part, ast.ClassDef):
                changed |= _drop_in(part, used)
    return changed


def _is_unused(node: ast.stmt, used: set[str]) -> bool:
    match node:
        case ast.Assign(targets=[target], value=value):
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            unused = all(isinstance(name, ast.Name) and name.id not in used | {"_"} for name in names)
            return unused and _is_pure(value)
        case ast.If(test=test, body=[], orelse=[]):
            return _is_pure(test)
    return False

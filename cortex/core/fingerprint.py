"""A fingerprint of the code that a stage can reach, so that a rule runs again when that code changes.

Snakemake sees a rule's shell text but not the Python behind the command. The fingerprint covers the stage's module
and every module of this package that it imports, transitively, by their syntax trees: comments, docstrings and
formatting do not count.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def code_fingerprint(*modules: str) -> str:
    """Words, for Snakemake to give as a reason, and SHA-256 of the code reachable from modules.

    Args:
        modules: named like ``cortex.explain.importance``.
    """
    reached: set[str] = set()
    todo = list(modules)
    while todo:
        module = todo.pop()
        if module not in reached:
            reached.add(module)
            todo.extend(_imports(module))
    digest = hashlib.sha256()
    for module in sorted(reached):
        digest.update(f"{module} {_tree_digest(module)}\n".encode())
    return f"code of {' and '.join(sorted(modules))} with what it imports: {digest.hexdigest()[:16]}"


def content_fingerprint(path: Path) -> str:
    """The file's name, for Snakemake to give as a reason, and SHA-256 of its content."""
    with open(path, "rb") as file:
        return f"{path.name}: {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def _path(module: str) -> Path | None:
    """The module's file, None for what is no module of this package."""
    base = PACKAGE.joinpath(*module.split(".")[1:])
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    if path is None:
        raise ValueError(f"{module} is no module of cortex")
    return ast.parse(path.read_bytes())


@cache
def _imports(module: str) -> frozenset[str]:
    """Modules of this package that the module imports anywhere, with the packages above them."""
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    ours = {name for name in names if name.split(".")[0] == "cortex" and _path(name)}
    parents = {name.rpartition(".")[0] for name in (*ours, module)} - {""}
    return frozenset(ours | parents)


@cache
def _tree_digest(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()

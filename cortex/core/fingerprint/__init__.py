"""A fingerprint of the code that a stage can reach, so that a rule runs again when that code changes.

Snakemake sees a rule's shell text but not the Python behind the command. The fingerprint covers the definitions that
a stage's function reaches by names: functions, classes with their methods, and constants, across modules. Nothing is
imported or executed.

Counted: the syntax of every definition reached; statements with effects in every module that is loaded with them.

Not counted: comments, formatting, docstrings, text of exceptions and logs, names that only such text uses, names of
modules, of functions and of constants, entries of a ``Registry``, fields of the config's sections, and annotations,
except for dataclasses and pydantic's models that they name. A rule states instead, as its parameters, the settings and
the code of the entries it uses.

Where no name says which definition is used (a module as a value, ``import *``, ``globals()``), all of the module
counts. ``getattr`` on other objects, and imports by computed names, are not followed: a rule states them.

A module may define ``RESULTS_VERSION = 2``. It counts with every definition of the module: raise it where results
change and the syntax does not, such as for a new version of a library.
"""

import hashlib
import importlib.util
import site
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from cortex.core.fingerprint._digests import Code

PACKAGE = Path(__file__).parent.parent.parent
INSTALLED = [Path(path) for path in {*sysconfig.get_paths().values(), *site.getsitepackages()}]


def code_fingerprint(*references: str) -> str:
    """Words, for Snakemake to give as a reason, and 16 hexadecimal digits of the SHA-256 of the code reached.

    Args:
        references: ``package.module:function``, ``package.module:Class``, or a module, which counts as a whole; of
            this package, or of others on ``sys.path``. Modules beside one that is not installed are followed, too.

    Raises:
        ValueError: no such definition.
    """
    return f"code of {' and '.join(sorted(map(short_name, references)))}: {code_digest(*references)}"


def code_digest(*references: str) -> str:
    """The digits of :func:`code_fingerprint`."""
    return _code(references).digest(*references)


def short_name(reference: str) -> str:
    """The name of a reference's definition, or of its module."""
    module, _, name = reference.partition(":")
    return name or module.rpartition(".")[2]


def content_fingerprint(path: Path) -> str:
    """The file's name, for Snakemake to give as a reason, and SHA-256 of its content."""
    with open(path, "rb") as file:
        return f"{path.name}: {hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"


def _code(references: Iterable[str]) -> Code:
    tops = {"cortex"} | {reference.partition(":")[0].partition(".")[0] for reference in references}
    tops |= {beside for top in tops - {"cortex"} for beside in _beside(top)}
    return _code_of(tuple(sorted((top, _places(top)) for top in tops)))


@cache
def _beside(top: str) -> frozenset[str]:
    """Modules and packages in the folder of a module of the user's own, which it may import; none of installed ones."""
    found: set[str] = set()
    for folder in {place.parent for place in _places(top)}:
        if not any(folder.is_relative_to(installed) for installed in INSTALLED):
            found |= {path.stem for path in folder.glob("*.py")}
            found |= {path.parent.name for path in folder.glob("*/__init__.py")}
    return frozenset(name for name in found if name.isidentifier())


@cache
def _code_of(roots: tuple[tuple[str, tuple[Path, ...]], ...]) -> Code:
    return Code(dict(roots))


def _places(top: str) -> tuple[Path, ...]:
    """The folders or the file of a top-level package or module; none if it is nowhere on ``sys.path``."""
    if top == "cortex":
        return (PACKAGE,)
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module of sys.modules without a spec, such as __main__
        spec = None
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(map(Path, spec.submodule_search_locations))
    return (Path(spec.origin),) if spec.has_location and spec.origin is not None else ()

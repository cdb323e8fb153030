"""The record of a run's code, ``results/<run>/code.json``; see :mod:`cortex.app.kept_results`."""

import json
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError

Record = dict[str, Any]


def kept_decisions(folder: Path) -> list[Record]:
    """The decisions to keep the results of a run under changed code, the first one first.

    Each has ``time``, ``cortex`` (the version), ``git_commit``, ``reason`` and ``kept``, a list of ``stage``,
    ``references``, ``code`` (digest of the new code) and ``given`` (digest of the code that computed the results).

    Args:
        folder: the run's.
    """
    decisions: list[Record] = read_record(folder / "code.json")["decisions"]
    return decisions


def read_record(path: Path) -> Record:
    """The file's content; of none, empty lists."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(content[name], list) for name in ("stages", "decisions")):
            return dict(content)
    except FileNotFoundError:
        return {"stages": [], "decisions": []}
    except (ValueError, LookupError, TypeError, RecursionError):
        pass
    raise InputError(f"{path}: damaged; without it, changed code makes its stages run again")

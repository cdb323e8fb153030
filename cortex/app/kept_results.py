"""By which code a run's results were computed, and decisions to keep them although the code has changed.

``results/<run>/code.json`` has two lists. ``stages`` are the stages of the run, each with the digest of its code with
which Snakemake last ended the run, or first started it, and the digest that its rule gave Snakemake. ``decisions`` are
those of ``cortex keep-results``: when, by which version and commit, for what reason, and for which stages the results
of the old code (``given``) stand for those of the new (``code``).
"""

import json
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from os import fdopen
from pathlib import Path
from typing import Any

from cortex import __version__
from cortex.app.cli import commands_for
from cortex.app.run_lock import hold_run
from cortex.app.workflow import read_config
from cortex.core.errors import InputError
from cortex.core.files import whole_file
from cortex.core.fingerprint import PACKAGE, code_digest, short_name
from cortex.core.kept import read_record
from cortex.core.provenance import git_commit

Record = dict[str, Any]


class RunCode:
    """The code of a run's stages, as its rules give it to Snakemake.

    Args:
        folder: the run's, there or not.
    """

    def __init__(self, folder: Path):
        self._path = folder / "code.json"
        self._kept = {
            (_key(kept["stage"], kept["references"]), kept["code"]): kept["given"]
            for decision in read_record(self._path)["decisions"]
            for kept in decision["kept"]
        }
        self._used: dict[str, Record] = {}
        self._running = False

    def of(self, command: str, *references: str) -> str:
        """A rule's parameter: words and digest of the code of a command, and of what else its jobs use.

        Args:
            command: its name.
            references: what it loads by names that its options give, such as ``cortex.extractors.cnn:CNN``.

        Raises:
            ValueError: a reference is to nothing.
        """
        return f"code of {_words(command, references)}: {self.record(command, *references)['given']}"

    def record(self, command: str, *references: str) -> Record:
        """Digests of :meth:`of`: of the code as it is (``code``), and of the code that stands for it (``given``)."""
        key = _key(command, references)
        if key not in self._used:
            code = code_digest(target_of(command), *references)
            given = self._kept.get((key, code), code)
            self._used[key] = {"stage": command, "references": list(references), "code": code, "given": given}
            if self._running:
                self._write(self._used[key], anew=False)
        return self._used[key]

    def started(self) -> None:
        """Snakemake begins to work: put on record the stages that are on none. A stage that is keeps its old code."""
        self._running = True
        self._write(*self._used.values(), anew=False)

    def finished(self) -> None:
        """All that Snakemake was asked for is made: put the code on record that made it."""
        self._write(*self._used.values(), anew=True)

    def _write(self, *used: Record, anew: bool) -> None:
        content = read_record(self._path)
        stages = {_key(record["stage"], record["references"]): record for record in content["stages"]}
        origin: Record | None = None
        for record in used:
            key = _key(record["stage"], record["references"])
            if key not in stages or (anew and stages[key] | record != stages[key]):
                origin = origin or _origin()
                stages[key] = record | origin
        if origin is not None:
            with suppress(OSError):  # of a full disk, the jobs tell; without a record, nothing can be kept later
                _write_whole(self._path, content | {"stages": list(stages.values())})


def target_of(command: str) -> str:
    """The function of a command, as ``module:function``."""
    return next(commands[command][0] for commands in commands_for(command).values() if command in commands)


def keep_results(config: Path, *, reason: str) -> None:
    """Keep a run's results although the code of their stages has changed, and put that on record.

    Use this command if the new code computes the same results. Snakemake then treats the existing results as results
    of the present code. Later changes of the code count again. The decision is recorded in results/<run>/code.json.

    Args:
        config: config file of the run.
        reason: reason why the results stay valid.
    """
    if not reason.strip():
        raise InputError("--reason is empty: say why the results stay valid")
    run = read_config(config)[0].run
    path = Path("results", run, "code.json")
    with closing(fdopen(hold_run(run), "w")):
        content = read_record(path)
        if not content["stages"]:
            raise InputError(f"{path}: no stage is on record: Snakemake has not worked on run {run!r}")
        kept = _changed(content, RunCode(path.parent))
        if not kept:
            print(f"Nothing to keep: no stage of run {run!r} has other code than its results")
            return
        decision = _origin() | {"reason": reason, "kept": kept}
        _write_whole(path, content | {"decisions": [*content["decisions"], decision]})
    for record in kept:
        print(f"kept: {_words(record['stage'], record['references'])}")


def _changed(content: Record, today: RunCode) -> list[Record]:
    """The stages on record whose results Snakemake would not take as they are, with the digests of both codes."""
    changed = []
    for old in content["stages"]:
        with suppress(ValueError, StopIteration):  # the stage, or what it uses, is no longer there
            new = today.record(old["stage"], *old["references"])
            if new["given"] != old["given"]:
                changed.append(new | {"given": old["given"]})
    return changed


def _key(stage: str, references: Sequence[str]) -> str:
    """A stage by its command and whole references: functions of several modules may have one name."""
    return " ".join([stage, *sorted(references)])


def _words(stage: str, references: Sequence[str]) -> str:
    """A stage in words."""
    return f"{stage} with {' and '.join(sorted(map(short_name, references)))}" if references else stage


def _origin() -> Record:
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return {"time": now, "cortex": __version__, "git_commit": git_commit(str(PACKAGE.parent))}


def _write_whole(path: Path, content: Record) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

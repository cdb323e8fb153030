"""What a judge's file states of the judge, and how its classes are matched to a generator's; without torch."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cortex.core.errors import InputError, listed, quoted, reason_of
from cortex.core.weights_metadata import read_metadata
from cortex.generators.class_names import match_names
from cortex.judges import JUDGES, judge_settings

UNKNOWN = -1  # in place of a network's output: of a class that the judge does not know


@dataclass(frozen=True)
class StatedJudge:
    """A judge without its weights.

    Args:
        network: name of the network: a registered name, or module:Class.
        arguments: of its constructor.
        class_names: of the network's outputs; empty where nothing states them.
        outputs: the network's output for every class index, :data:`UNKNOWN` for classes that it does not know; None:
            the outputs are in the order of the class indices.
        held_out_top1: accuracy on held-out pictures, where it was measured.
    """

    network: str
    arguments: dict[str, Any]
    class_names: tuple[str, ...] = ()
    outputs: tuple[int, ...] | None = None
    held_out_top1: float | None = None

    def named(self, names: Sequence[str] | None, where: str) -> "StatedJudge":
        """The judge with other names of its classes; None: with its own.

        Raises:
            InputError: there are more or fewer names than classes.
        """
        if names is None:
            return self
        classes = len(self.class_names) or self.arguments.get("classes", len(names))
        if len(names) != classes:
            raise InputError(f"{where}: {len(names)} names; the judge knows {classes} classes")
        return replace(self, class_names=tuple(names))

    def for_classes(
        self, classes: Sequence[str], needed: Sequence[int], where: str, remedy: str = "name its classes so"
    ) -> "StatedJudge":
        """The judge whose class indices are those of a generator.

        Classes are matched by name. Classes of the judge that the generator does not have come after all others.
        A judge without class names has the generator's order already.

        Args:
            classes: the generator's class names, in the order of the class indices.
            needed: class indices that the judge must know.
            where: what to call the judge in errors.
            remedy: what helps where names differ.

        Raises:
            InputError: the judge does not know a class that it must know.
        """
        if not self.class_names:
            return self
        found = match_names(self.class_names, classes)
        if not all(0 <= index < len(classes) for index in needed):
            wrong = [str(index) for index in needed]
            raise InputError(f"classes {listed(wrong)} are needed; the generator has classes 0 to {len(classes) - 1}")
        missing = [classes[index] for index in needed if found[index] == UNKNOWN]
        others = [index for index in range(len(self.class_names)) if index not in set(found)]
        if missing:
            own = quoted([self.class_names[index] for index in others])
            raise InputError(
                f"{where}: classes of the generator that it does not know: {quoted(missing)}; its classes that the "
                f"generator does not have: {own}; classes are matched by name: {remedy}"
            )
        outputs = (*found, *others)
        return replace(self, outputs=None if outputs == tuple(range(len(outputs))) else outputs)

    def as_text(self) -> str:
        """The metadata's entry."""
        return json.dumps(
            {
                "network": self.network,
                "arguments": self.arguments,
                "class_names": list(self.class_names),
                "outputs": None if self.outputs is None else list(self.outputs),
                "held_out_top1": self.held_out_top1,
            }
        )


def stated_judge(path: Path) -> StatedJudge:
    """What the judge's file at ``path`` states.

    Raises:
        InputError: the file is missing, truncated, or not a judge's, or its network is code from outside that is not
            allowed (:meth:`~cortex.core.registry.Registry.check_stated`).
    """
    metadata = read_metadata(path)
    if "judge" not in metadata:
        raise InputError(f"{path}: not a judge's weights: its metadata has no 'judge'")
    entry = metadata["judge"]
    if not entry.startswith("{"):  # of earlier releases: a name alone
        JUDGES.check_stated(entry, path)
        return StatedJudge(entry, {"classes": judge_settings(entry).classes or 10})
    try:
        found = _parsed(json.loads(entry))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(f"{path}: not a judge's weights: its 'judge' is wrong: {reason_of(repr(error))}") from None
    JUDGES.check_stated(found.network, path)
    return found


def _parsed(stated: dict[str, Any]) -> StatedJudge:
    """The entry as a value.

    Raises:
        ValueError, TypeError, LookupError: something is missing or of another kind.
    """
    if "arguments" not in stated:  # of earlier releases
        classes = stated["classes"]
        if classes is not None and not (type(classes) is int and classes > 0):
            raise ValueError(f"classes = {classes!r}")
        return StatedJudge(str(stated["network"]), {} if classes is None else {"classes": classes})
    names, outputs, top1 = tuple(stated["class_names"]), stated["outputs"], stated["held_out_top1"]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("class_names are text")
    if outputs is not None:
        outputs = tuple(outputs)
        if not all(type(each) is int and UNKNOWN <= each < len(names) for each in outputs):
            raise ValueError(f"outputs = {outputs}")
    if top1 is not None and not (isinstance(top1, float) and 0 <= top1 <= 1):
        raise ValueError(f"held_out_top1 = {top1!r}")
    return StatedJudge(str(stated["network"]), dict(stated["arguments"]), names, outputs, top1)

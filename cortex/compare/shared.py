"""What runs share, and what cannot be compared, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from cortex.compare.runs import ClassName, ComparedRun
from cortex.core.errors import InputError
from cortex.report.words import listed

IMAGE_LEVEL = "image_level"
NAMED = 12  # names in a sentence, at most


@dataclass(frozen=True)
class LeftOut:
    """Something that is not compared.

    Args:
        what: kind of the thing, such as class or extractor.
        names: of the things.
        reason: why.
    """

    what: str
    names: str
    reason: str


@dataclass(frozen=True)
class Shared:
    """What runs share.

    Args:
        runs: all of them.
        classes: by name, the label in every run.
        extractors: names of extractors of the same network, in all runs.
        attributions: methods of importance of all runs.
        judged: runs that have the image level.
        judges: names of judges of the same network, in all of these; empty where fewer than two runs have the level.
        left_out: what is not compared.
    """

    runs: Sequence[ComparedRun]
    classes: Mapping[str, Sequence[int]]
    extractors: Sequence[str]
    attributions: Sequence[str]
    judged: Sequence[ComparedRun]
    judges: Sequence[str]
    left_out: Sequence[LeftOut]

    def labels(self, run: ComparedRun) -> list[int]:
        """Labels of the shared classes in a run, in the order of the classes."""
        place = self.runs.index(run)
        return [labels[place] for labels in self.classes.values()]

    def same_images(self, one: ComparedRun, other: ComparedRun) -> bool:
        """Whether the shared classes have the same test images in both runs: keys, grids and codebook."""
        if one.codebook != other.codebook or one.test.shape != other.test.shape:
            return False
        parts = []
        for run in (one, other):
            rows = np.flatnonzero(np.isin(run.test.labels, self.labels(run)))
            rows = rows[np.argsort(np.array(run.test.keys)[rows], kind="stable")]
            parts.append((np.array(run.test.keys)[rows].tolist(), run.test.tokens[rows]))
        return parts[0][0] == parts[1][0] and bool(np.array_equal(parts[0][1], parts[1][1]))


def find_shared(runs: Sequence[ComparedRun]) -> Shared:
    """What runs share.

    Raises:
        InputError: no class, extractor or method of importance is the same in all runs.
    """
    left_out: list[LeftOut] = []
    classes = _classes(runs, left_out)
    extractors = _alike(runs, "extractor", lambda run: run.settings_of("extractors", run.extractors), left_out)
    attributions = _alike(runs, "method of importance", lambda run: dict.fromkeys(run.run.attributions), left_out)
    for what, found in (("class", classes), ("extractor", extractors), ("method of importance", attributions)):
        if not found:
            said = "; ".join(f"{one.names}: {one.reason}" for one in left_out if one.what == what)
            raise InputError(f"no {what} is the same in all runs: {said}")
    judged = [run for run in runs if IMAGE_LEVEL in run.levels]
    if missing := [run.name for run in runs if run not in judged]:
        left_out.append(LeftOut("level", "image level", f"not measured in {listed(missing)}"))
    judges: list[str] = []
    if len(judged) > 1:
        judges = _alike(judged, "judge", lambda run: run.settings_of("judges", run.judges), left_out)
    left_out += [*_other_codebooks(runs), *_other_choices(runs), *_single_trainings(runs, extractors)]
    return Shared(runs, classes, extractors, attributions, judged if judges else [], judges, left_out)


def _classes(runs: Sequence[ComparedRun], left_out: list[LeftOut]) -> dict[str, list[int]]:
    """The shared classes. Classes without a name are the same only where the codebook is: it is one generator."""
    nameless = len({run.codebook for run in runs}) > 1
    names = list(dict.fromkeys(name for run in runs for name in run.classes))
    found, missing = {}, dict[tuple[str, ...], list[str]]()
    for name in names:
        without = tuple(run.name for run in runs if name not in run.classes)
        placeholder = nameless and any(name[0] == f"class {run.classes.get(name)}" for run in runs)
        if without or placeholder:
            missing.setdefault(without, []).append(_written(name))
        else:
            found[_written(name)] = [run.classes[name] for run in runs]
    for without, of in missing.items():
        reason = f"not in {listed(without)}" if without else "a number, not a name, and the codebooks differ"
        left_out.append(LeftOut("class", _shortened(of), reason))
    return found


def _alike(
    runs: Sequence[ComparedRun],
    what: str,
    named: Callable[[ComparedRun], Mapping[str, Any]],
    left_out: list[LeftOut],
) -> list[str]:
    """Names that all runs have for the same network.

    Args:
        runs: to compare.
        what: kind of the thing that is named.
        named: settings of the things of a run, by name.
        left_out: where the others are added.
    """
    of_runs = [named(run) for run in runs]
    found = []
    for name in dict.fromkeys(name for of_run in of_runs for name in of_run):
        without = [run.name for run, of_run in zip(runs, of_runs, strict=True) if name not in of_run]
        networks = [(of_run.get(name) or {}).get("network") for of_run in of_runs]
        if without:
            left_out.append(LeftOut(what, name, f"not in {listed(without)}"))
        elif len(set(networks)) > 1:
            said = [f"{network} in {run.name}" for run, network in zip(runs, networks, strict=True)]
            left_out.append(LeftOut(what, name, f"other networks: {listed(said)}"))
        else:
            found.append(name)
    return found


def _other_codebooks(runs: Sequence[ComparedRun]) -> list[LeftOut]:
    pairs = [f"{one.name} and {other.name}" for one, other in combinations(runs, 2) if one.codebook != other.codebook]
    reason = "other codebooks: a number stands for another code"
    return [LeftOut("overlap of concept tokens", ", ".join(pairs), reason)] if pairs else []


def _other_choices(runs: Sequence[ComparedRun]) -> list[LeftOut]:
    found = []
    for one, other in combinations(runs, 2):
        if one.classes.keys() != other.classes.keys():
            reason = f"extractors choose among other classes ({len(one.classes)} and {len(other.classes)})"
            found.append(LeftOut("difference of accuracies", f"{one.name} and {other.name}", reason))
    return found


def _single_trainings(runs: Sequence[ComparedRun], extractors: Sequence[str]) -> list[LeftOut]:
    found = []
    for run in runs:
        if single := [name for name in extractors if len(run.extractors.get(name, [])) < 2]:
            found.append(LeftOut("verdict", f"{listed(single)} of {run.name}", "one training gives no verdict"))
    return found


def _written(name: ClassName) -> str:
    return name[0] if name[1] == 0 else f"{name[0]} ({name[1] + 1})"


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return listed(names) if more <= 0 else f"{', '.join(names[:NAMED])} and {more} more"

"""The runs of a comparison: each opened, named, and asked for its results."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cortex.core.errors import InputError
from cortex.core.weights import read_weights
from cortex.data.manifest import shards_of
from cortex.data.tokens import Tokens
from cortex.extractors.names import join_name
from cortex.generators.load import generator_spec
from cortex.generators.spec import GeneratorSpec
from cortex.report.results import LEVELS, Reader, RunFiles, read_rows
from cortex.run import Run, open_run

NEEDED = ("validity", "extractor_accuracy")  # metrics of every finished run
LISTED = 20  # tokens of a list, at most
ClassName = tuple[str, int]  # a name, and how often it stands before among a generator's classes


@dataclass(frozen=True)
class ComparedRun:
    """A run of a comparison.

    Args:
        name: what tables and the page call it.
        run: its folder.
    """

    name: str
    run: Run

    @cached_property
    def spec(self) -> GeneratorSpec:
        """Grid, codes and class names of its generator, from the exported codebook: weights may lie elsewhere."""
        return generator_spec(self.run.folder / "generator" / "codebook.safetensors", "codebook")

    @cached_property
    def readers(self) -> list[Reader]:
        """Trainings of extractors, and judges, with their validity."""
        return [Reader(**row) for row in read_rows(self.run.folder / "metrics" / "validity.parquet")]

    @cached_property
    def extractors(self) -> dict[str, list[int]]:
        """Trainings by extractor."""
        found: dict[str, list[int]] = {}
        for reader in self.readers:
            if reader.kind == "extractor" and reader.training is not None:
                found.setdefault(reader.name, []).append(reader.training)
        return found

    @cached_property
    def judges(self) -> list[str]:
        """Names of the judges."""
        return [reader.name for reader in self.readers if reader.kind == "judge"]

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels that were judged."""
        return tuple(level for level in LEVELS if level in self.run.tables)

    @cached_property
    def codebook(self) -> str:
        """SHA-256 of the codebook's numbers and shape."""
        return _digest({"codebook": self.run.codebook()})

    def judge_weights(self, name: str) -> str:
        """SHA-256 of a judge's weights."""
        return _digest(read_weights(self.run.folder / "judges" / name / "model.safetensors")[0])

    @cached_property
    def test(self) -> Tokens:
        """Keys, labels and grids of the test images."""
        return self.run.tokens("test")

    @cached_property
    def classes(self) -> dict[ClassName, int]:
        """Labels of the test images' classes, by name."""
        seen: Counter[str] = Counter()
        names: dict[int, ClassName] = {}
        for label, name in enumerate(self.spec.class_names):
            names[label] = name, seen[name]
            seen[name] += 1
        return {names.get(label, (f"class {label}", 0)): label for label in np.unique(self.test.labels).tolist()}

    def settings_of(self, section: str, names: Iterable[str]) -> dict[str, Any]:
        """Settings of extractors or judges that have results, by name."""
        stated = self.run.settings[section]
        return {name: stated[name] for name in names if name in stated}

    def files(self, attributions: Sequence[str]) -> RunFiles:
        """Its files, as the report reads them.

        Args:
            attributions: methods of importance; the first is shown.
        """
        trained = [join_name(name, number) for name, numbers in self.extractors.items() for number in numbers]
        return RunFiles(
            self.run.folder, tuple(trained), tuple(self.judges), self.levels, (), tuple(attributions), LISTED
        )

    @property
    def shown_top_n(self) -> int:
        """The list of concept tokens that the run's own report shows."""
        evaluated: list[int] = self.run.settings["evaluation"]["concept_level"]["top_n"]
        return evaluated[len(evaluated) // 2]

    @property
    def shard(self) -> Path | None:
        """A tar of images for the patches of tokens; None where the run kept no images."""
        kept: Mapping[str, Any] = self.run.settings["data"]["images"]
        for split in ("train", "validation", "test"):
            if kept[split] != "none":
                return self.run.folder / "data" / split / f"{shards_of(self.run.folder, split)[0]}.tar"
        return None

    def evaluations(self, *place: str) -> list[Path]:
        """Evaluation files, a shard each, in a folder below ``evaluation``.

        Raises:
            InputError: there are none.
        """
        folder = self.run.folder.joinpath("evaluation", *place)
        if not folder.is_dir():
            raise InputError(f"{folder}: no evaluations")
        return [folder / f"{shard}.parquet" for shard in shards_of(self.run.folder, "test")]


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of named tensors: their names, kinds, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def open_runs(folders: Sequence[Path]) -> list[ComparedRun]:
    """The runs of some folders.

    Raises:
        InputError: fewer than two folders, one named twice, or one that is not that of a finished run.
    """
    if len(folders) < 2:
        raise InputError(f"{len(folders)} folders of runs: allowed: two and more")
    places: dict[Path, Path] = {}
    for folder in folders:
        if (place := folder.resolve()) in places:
            raise InputError(f"{folder}: the same folder as {places[place]}; every run once")
        places[place] = folder
    ends = Counter(place.name for place in places)
    return [
        ComparedRun(place.name if ends[place.name] == 1 else str(folder), _finished(folder))
        for place, folder in places.items()
    ]


def _finished(folder: Path) -> Run:
    run = open_run(folder)
    missing = [name for name in NEEDED if name not in run.tables]
    if missing:
        raise InputError(f"{folder / 'metrics'}: no {missing[0]}.parquet: the run is not finished")
    return run

"""A finished run, read from its folder: generator, extractors, judges, images, scores and metrics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cortex.core.errors import InputError, listed, reason_of
from cortex.core.tables import read_table
from cortex.data.decoded import read_decoded
from cortex.data.manifest import shards_of
from cortex.data.settings import SPLITS, Imports
from cortex.data.tokens import Tokens, iterate_tokens, read_tokens
from cortex.explain import IMPORTANCE
from cortex.explain.important_tokens import important_tokens
from cortex.extractors.codebook import load_codebook
from cortex.extractors.names import join_name, split_name
from cortex.extractors.network import load_extractor
from cortex.generators.base import Generator
from cortex.generators.load import generator_of_run, generator_spec, load_generator
from cortex.generators.spec import GeneratorSpec
from cortex.judges.judge import Judge, load_judge

SETTINGS = "settings.json"  # the run's config with all defaults, written when Snakemake starts


class Run:
    """A run's folder.

    Methods take an extractor as ``cnn/0``, its first training; ``cnn`` is the same. :meth:`scores`,
    :meth:`concept_tokens` and :meth:`important_tokens` also take ``cnn/average``, the average of its trainings.

    Args:
        folder: such as ``results/landuse``.

    Raises:
        InputError: the folder is not that of a run.

    Example:
        >>> run = cortex.open_run("results/landuse")
        >>> run.metrics("image_level").to_pandas()
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        path = self.folder / SETTINGS
        try:
            self.settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{self.folder}: not the folder of a run: it has no {SETTINGS}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: not the settings of a run: {reason_of(error)}") from None
        _check_settings(self.settings, path)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}: extractors {listed(self.extractors)}; judges {listed(self.judges)})"

    @property
    def extractors(self) -> list[str]:
        """Trained extractors of the run's settings as ``name/training``, such as ``cnn/0``."""
        numbers = {name: _trainings(part) for name, part in self.settings["extractors"].items()}
        found = self._names("extractors", "*/*")
        return [word for word in found if split_name(word)[1] < numbers.get(split_name(word)[0], 0)]

    @property
    def attributions(self) -> list[str]:
        """Attributions that the run explains by; the first is the default of :meth:`scores` and others."""
        return list(self.settings["importance"]["method"])

    @property
    def judges(self) -> list[str]:
        """Names of the judges of the run's settings."""
        return [name for name in self._names("judges", "*") if name in self.settings["judges"]]

    @property
    def tables(self) -> list[str]:
        """Names of the tables of metrics."""
        return sorted(path.stem for path in (self.folder / "metrics").glob("*.parquet"))

    def generator(self, device: str = "cpu", *, decode_only: bool = False) -> Generator:
        """The run's generator, on a device."""
        family, weights = self._generator
        return load_generator(weights, device, family=family, decode_only=decode_only)

    @property
    def spec(self) -> GeneratorSpec:
        """Shapes, class names and capabilities of the run's generator, which is not loaded."""
        family, weights = self._generator
        return generator_spec(weights, family)

    @property
    def _generator(self) -> tuple[str, Path | None]:
        """Family and weights file of the run's generator."""
        stated = self.settings["generator"]
        weights = None if stated["weights"] is None else Path(stated["weights"])
        imports = Imports.model_validate(self.settings.get("data", {}).get("imports") or {})
        return generator_of_run(self.folder, stated["family"], weights, own_classes=imports.pictures_alone())

    def codebook(self, device: str = "cpu") -> Tensor:
        """Code vectors float32 ``[K, d]``."""
        return load_codebook(self.folder / "generator" / "codebook.safetensors", torch.device(device))

    def extractor(self, name: str, device: str = "cpu") -> nn.Module:
        """A trained extractor in eval mode: embeddings ``[B, d, h, w]`` to logits ``[B, classes]``."""
        word = _training(name)
        if word not in self.extractors:
            raise InputError(f"{self.folder}: no extractor {word!r}; there are {listed(self.extractors, 20)}")
        return load_extractor(self._existing("extractors", word, "model.safetensors"), torch.device(device))

    def judge(self, name: str, device: str = "cpu") -> Judge:
        """A judge."""
        return load_judge(self._existing("judges", name, "model.safetensors"), torch.device(device))

    def tokens(self, split: str = "test") -> Tokens:
        """Keys, labels and token grids of a split."""
        return read_tokens(self._of_shards(split, "data"))

    def images(self) -> NDArray[np.uint8]:
        """Images of the test split, uint8 ``[N, H, W, 3]``, in the order of :meth:`tokens`."""
        folder = self.folder / "data" / "test" / "images"
        paths = [folder / f"{shard}.npy" for shard in shards_of(self.folder, "test")]
        if not any(path.exists() for path in paths):
            raise InputError(f"{self.folder}: no decoded images: the run has no judges")
        return np.concatenate([read_decoded(path) for path in paths])

    def scores(self, name: str, split: str = "test", *, method: str | None = None) -> Tokens:
        """Tokens of a split with the importance by an extractor: ``scores["importance"]``, float32 ``[N, P]``.

        ``method`` is one of :attr:`attributions`.
        """
        of = self._attribution(method)
        return read_tokens(self._of_shards(split, "importance", of, _training(name)), [IMPORTANCE])

    def concept_tokens(self, name: str, *, method: str | None = None) -> pa.Table:
        """Concept tokens by an extractor: label, top_n, list, rank, token, count, share.

        ``method`` is one of :attr:`attributions`.
        """
        of = self._attribution(method)
        return read_table(self._existing("tokens", of, f"{_training(name)}.parquet"))

    def important_tokens(
        self,
        name: str,
        *,
        top_n: int,
        label: int | None = None,
        split: str = "train",
        method: str | None = None,
    ) -> pa.Table:
        """Tokens at the ``top_n`` positions of highest importance, with the images behind them.

        The columns are token, count, images (number of them) and keys. ``label`` is the class of the images; None: all
        classes together. ``method`` is one of :attr:`attributions`.
        """
        paths = self._of_shards(split, "importance", self._attribution(method), _training(name))
        return important_tokens(iterate_tokens(paths, [IMPORTANCE]), top_n, label)

    def searches(self, name: str) -> pa.Table:
        """Codebook searches by an extractor: key, method, step, source, target, positions, tokens, logits."""
        return read_table(self._existing("codebook", f"{_training(name)}.parquet"))

    def codes(self) -> pa.Table:
        """The dictionary's codes, a row each: kind, occurrences, place, nearest codes, patches."""
        return read_table(self._existing("codes.parquet"))

    def dictionary(self) -> pa.Table:
        """The dictionary, a row a code and class: frequency, log-odds, importance, ranks, causes."""
        return read_table(self._existing("dictionary.parquet"))

    def metrics(self, name: str) -> pa.Table:
        """A table of metrics; :attr:`tables` lists their names."""
        if name not in self.tables:
            raise InputError(f"{self.folder}: no metrics {name!r}; there are {listed(self.tables, 20)}")
        return read_table(self.folder / "metrics" / f"{name}.parquet")

    def _names(self, place: str, pattern: str) -> list[str]:
        root = self.folder / place
        return sorted(str(path.parent.relative_to(root)) for path in root.glob(f"{pattern}/model.safetensors"))

    def _attribution(self, method: str | None) -> str:
        if method is not None and method not in self.attributions:
            raise InputError(f"{self.folder}: no attribution {method!r}; there are {listed(self.attributions, 20)}")
        return method or self.attributions[0]

    def _existing(self, *parts: str) -> Path:
        path = self.folder.joinpath(*parts)
        if not path.is_file():
            raise InputError(f"{path}: no such file in the run; extractors: {listed(self.extractors)}")
        return path

    def _of_shards(self, split: str, *parts: str) -> list[Path]:
        """The tables of a split's shards in a folder."""
        if split not in SPLITS:
            raise InputError(f"split {split!r}; allowed: {', '.join(SPLITS)}")
        folder = self.folder.joinpath(*parts, split)
        if not folder.is_dir():
            raise InputError(f"{folder}: no token tables; extractors: {listed(self.extractors)}")
        return [folder / f"{shard}.parquet" for shard in shards_of(self.folder, split)]


def _check_settings(settings: Any, path: Path) -> None:
    """Raise an InputError unless settings have all that this module reads of them."""
    try:
        generator, methods = settings["generator"], settings["importance"]["method"]
        texts = [generator["family"], generator["weights"] or "", *methods, *settings["judges"]]
        right = all(isinstance(text, str) for text in texts) and isinstance(methods, list) and len(methods) > 0
        right = right and all(isinstance(_trainings(part), int) for part in settings["extractors"].values())
    except (TypeError, LookupError, AttributeError):
        right = False
    if not right:
        raise InputError(f"{path}: not the settings of a run: it lacks generator, importance, extractors or judges")


def _trainings(part: dict[str, Any]) -> int:
    """How many trainings an extractor has by its settings; one that was trained elsewhere has a file for each."""
    return part["seeds"] if "seeds" in part else len(part["weights"])


def _training(name: str) -> str:
    """The name of a training, or of the average of all: ``cnn/0`` of ``cnn``."""
    return join_name(*split_name(name))


def open_run(folder: str | Path) -> Run:
    """Open the folder of a finished run, such as ``results/landuse``.

    Raises:
        InputError: it is not the folder of a run.
    """
    return Run(folder)

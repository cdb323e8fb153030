"""The token table: keys, labels and tokens of images, with their scores where there are any; one format, one reader.

A table is Parquet: key (string), label (int32), tokens (fixed-size list of uint16, row-major), and maybe columns of
scores (fixed-size lists of float32, one a position). Its schema metadata holds the shape of the grid.
Stages read tables; shards (tars) are the exchange format, and are read once, where they enter.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.shard_reader import read_shard

GRID = b"cortex.grid"  # key of the schema metadata: rows and columns of a grid, as text "16x16"


@dataclass(frozen=True)
class Tokens:
    """Images as tokens, P = h·w.

    Args:
        keys: unique names, N.
        labels: class indices, int64 ``[N]``.
        tokens: uint16 ``[N, P]``, row-major.
        shape: (h, w) of a grid.
        scores: by column name, float32 ``[N, P]``.
        path: the file that they come from, for error messages.
    """

    keys: list[str]
    labels: NDArray[np.int64]
    tokens: NDArray[np.uint16]
    shape: tuple[int, int]
    scores: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    path: Path = Path("tokens")

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def grids(self) -> NDArray[np.int64]:
        """Token grids int64 ``[N, h, w]``."""
        return self.tokens.astype(np.int64).reshape(-1, *self.shape)

    def take(self, rows: NDArray[np.integer] | Sequence[int]) -> "Tokens":
        """The images of some rows, in their order."""
        rows = np.asarray(rows, np.int64)
        return replace(
            self,
            keys=[self.keys[row] for row in rows],
            labels=self.labels[rows],
            tokens=self.tokens[rows],
            scores={name: values[rows] for name, values in self.scores.items()},
        )

    def rows_of(self, keys: Iterable[str]) -> NDArray[np.int64]:
        """Rows of some keys, in the keys' order.

        Raises:
            InputError: a key is not among them.
        """
        place = {key: row for row, key in enumerate(self.keys)}
        wanted = list(keys)
        if missing := [key for key in wanted if key not in place]:
            raise InputError(f"{self.path}: no image {missing[0]!r}")
        return np.array([place[key] for key in wanted], np.int64)

    def first(self, per_class: int, classes: Iterable[int] | None = None) -> NDArray[np.int64]:
        """Rows of the first ``per_class`` images of every class, ascending.

        Args:
            per_class: images of a class.
            classes: class indices; those that occur if not given.

        Raises:
            InputError: a class has fewer images.
        """
        wanted = set(np.unique(self.labels).tolist() if classes is None else classes)
        seen: Counter[int] = Counter()
        rows = []
        for row, label in enumerate(self.labels.tolist()):
            if label in wanted and seen[label] < per_class:
                seen[label] += 1
                rows.append(row)
        if short := {label: seen[label] for label in sorted(wanted) if seen[label] < per_class}:
            raise InputError(f"{self.path}: images by class {short}; {per_class} of each are needed")
        return np.array(rows, np.int64)


def write_tokens(path: Path, images: Tokens, more: Mapping[str, pa.Array] | None = None) -> None:
    """Write a token table, scores included.

    Args:
        path: Parquet to write.
        images: keys, labels, tokens and scores.
        more: further columns, by name.
    """
    positions = images.shape[0] * images.shape[1]
    columns = {
        "key": pa.array(images.keys, pa.string()),
        "label": pa.array(images.labels, pa.int32()),
        "tokens": _lists(images.tokens, pa.uint16(), positions),
        **(more or {}),
        **{name: _lists(values, pa.float32(), positions) for name, values in images.scores.items()},
    }
    write_table(path, pa.table(columns), {GRID.decode(): f"{images.shape[0]}x{images.shape[1]}"})


def read_tokens(
    path: Path | Sequence[Path], scores: Sequence[str] = (), *, codes: int | None = None, like: Tokens | None = None
) -> Tokens:
    """The images of a token table, or of several, one after another.

    Args:
        path: the file or files.
        scores: columns of scores to read.
        codes: codes in the codebook; a token outside is an error.
        like: images that these must be, in the same order.

    Raises:
        InputError: a file is missing, damaged or no token table, grids differ, a token is outside of the codebook, or
            the images are others than ``like``.
    """
    paths = [path] if isinstance(path, Path) else list(path)
    if not paths:
        raise InputError("no token tables")
    parts = [_read(one, scores) for one in paths]
    for part in parts:
        if part.shape != parts[0].shape:
            raise InputError(f"{part.path}: grids of {part.shape}; those of {parts[0].path} are of {parts[0].shape}")
        if codes is not None and len(part) and int(part.tokens.max()) >= codes:
            raise InputError(f"{part.path}: token {int(part.tokens.max())}; allowed: 0 to {codes - 1}")
    found = parts[0]
    if len(parts) > 1:
        found = Tokens(
            [key for part in parts for key in part.keys],
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.tokens for part in parts]),
            parts[0].shape,
            {name: np.concatenate([part.scores[name] for part in parts]) for name in scores},
            paths[0].parent,
        )
    if like is not None and (found.keys != like.keys or not np.array_equal(found.tokens, like.tokens)):
        raise InputError(f"{found.path}: not of the same images, in the same order, as {like.path}")
    return found


def read_shard_tokens(output: Path, shard: Path, *, codes: int) -> None:
    """Read a shard strictly, member by member, and write its keys, labels and tokens as a token table.

    Args:
        output: Parquet to write: key, label, tokens (h·w uint16, row-major).
        shard: WebDataset tar.
        codes: codes in the codebook; a token outside is an error.
    """
    samples = list(read_shard(shard, codes=codes))
    height, width = samples[0].grid.shape
    tokens = np.stack([sample.grid.ravel() for sample in samples])
    labels = np.array([sample.label for sample in samples])
    write_tokens(output, Tokens([sample.key for sample in samples], labels, tokens, (height, width)))


def _lists(values: NDArray[np.generic], kind: pa.DataType, size: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), size)


def _read(path: Path, scores: Sequence[str]) -> Tokens:
    table = read_table(path, ["key", "label", "tokens", *scores])
    with pq.ParquetFile(path) as file:
        stated = (file.schema_arrow.metadata or {}).get(GRID, b"").decode(errors="replace")
    height, _, width = stated.partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise InputError(f"{path}: not a token table: its metadata states no shape of the grid (cortex.grid)")
    shape = int(height), int(width)
    flat = {name: _flat(table, name, shape[0] * shape[1], path) for name in ("tokens", *scores)}
    return Tokens(
        table["key"].to_pylist(),
        table["label"].to_numpy().astype(np.int64),
        flat.pop("tokens").astype(np.uint16, copy=False),
        shape,
        {name: values.astype(np.float32, copy=False) for name, values in flat.items()},
        path,
    )


def _flat(table: pa.Table, name: str, positions: int, path: Path) -> NDArray[np.generic]:
    """A column of fixed-size lists as ``[N, P]``."""
    size = getattr(table[name].type, "list_size", -1)
    if size != positions:
        raise InputError(f"{path}: column {name} has {table[name].type} an image; the grid has {positions} positions")
    return table[name].combine_chunks().flatten().to_numpy().reshape(len(table), positions)

"""The token table: keys, labels and tokens of images, and their scores where there are any.

A table is Parquet: key (string), label (int32), tokens (fixed-size list of uint16, row-major), and maybe columns of
scores (fixed-size lists of float32, one a position). Its schema metadata holds the shape of the grid, and the sides of
all scales where tokens have several.
Stages read tables. Shards (tars) are the exchange format: each is read once, where it enters.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError, cut, listed, shown
from cortex.core.tables import read_table, write_table
from cortex.data.layout import Layout
from cortex.data.shard_reader import MAX_LABEL, read_shard

GRID = "cortex.grid"  # key of the schema metadata: rows and columns of a grid, as text "16x16"
SCALES = "cortex.scales"  # key of the schema metadata: sides of all scales, as text "1 2 4"; none where there is one
_SHAPE = re.compile(rb"([1-9]\d{0,5})x([1-9]\d{0,5})")


@dataclass(frozen=True, eq=False)
class Tokens:
    """Images as tokens, P = h·w.

    Args:
        keys: unique names, N.
        labels: class indices, int64 ``[N]``.
        tokens: uint16 ``[N, P]``, row-major.
        shape: (h, w) of a grid.
        scores: by column name, float32 ``[N, P]``.
        path: the file that they come from, for error messages.
        scales: rows and columns of every scale, from coarse to fine; empty: tokens have one scale.
    """

    keys: list[str]
    labels: NDArray[np.int64]
    tokens: NDArray[np.uint16]
    shape: tuple[int, int]
    scores: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    path: Path = Path("tokens")
    scales: tuple[int, ...] = ()

    @property
    def layout(self) -> Layout:
        """Where the tokens stand in an image."""
        return Layout(self.shape, self.scales)

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
            raise InputError(f"{self.path}: no image {shown(missing[0])}")
        return np.array([place[key] for key in wanted], np.int64)

    def first(self, per_class: int, classes: Iterable[int] | None = None) -> NDArray[np.int64]:
        """Rows of the first ``per_class`` images of every class, ascending.

        Args:
            per_class: images of a class.
            classes: class indices; None: all classes that occur.

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
            told = [f"{label}: {count}" for label, count in short.items()]
            raise InputError(f"{self.path}: images by class: {listed(told)}; {per_class} of each are needed")
        return np.array(rows, np.int64)


def write_tokens(path: str | Path, images: Tokens, more: Mapping[str, pa.Array] | None = None) -> None:
    """Write a token table, scores included.

    Args:
        path: Parquet to write: key, label, tokens, the columns of ``more``, a column for each of the scores.
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
    scales = {SCALES: " ".join(map(str, images.scales))} if images.scales else {}
    write_table(Path(path), pa.table(columns), {GRID: f"{images.shape[0]}x{images.shape[1]}"} | scales)


def read_tokens(
    path: str | Path | Sequence[Path],
    scores: Sequence[str] = (),
    *,
    codes: int | None = None,
    like: Tokens | None = None,
) -> Tokens:
    """The images of a token table, or of several, one after another.

    Args:
        path: the file or files.
        scores: columns of scores to read.
        codes: codes in the codebook; a token outside is an error. None: not checked.
        like: images that these must be, in the same order. None: any.

    Raises:
        InputError: a file is missing, damaged or no token table, grids differ, a key appears twice, a token is outside
            of the codebook, or the images are others than ``like``.
    """
    parts = list(iterate_tokens([Path(path)] if isinstance(path, str | Path) else path, scores, codes=codes))
    found = parts[0] if len(parts) == 1 else _joined(parts, scores)
    if len(set(found.keys)) < len(found.keys):
        twice, _ = Counter(found.keys).most_common(1)[0]
        raise InputError(f"{found.path}: key {shown(twice)} appears twice; keys are unique")
    if like is not None and not _same_images(found, like):
        raise InputError(f"{found.path}: not of the same images, in the same order, as {like.path}")
    return found


def iterate_tokens(paths: Sequence[Path], scores: Sequence[str] = (), *, codes: int | None = None) -> Iterator[Tokens]:
    """The images of each of several token tables, one table in memory at a time; arguments of :func:`read_tokens`.

    Raises:
        InputError: as :func:`read_tokens`, but keys are not compared; or there is no table.
    """
    if not paths:
        raise InputError("no token tables")
    shape = None
    for path in paths:
        part = _read(path, scores)
        shape = shape or part.shape
        if part.shape != shape:
            here, there = ("×".join(map(str, each)) for each in (part.shape, shape))
            raise InputError(f"{path}: grids of {here} tokens; those of {paths[0]} are of {there}")
        if codes is not None and (largest := int(part.tokens.max())) >= codes:
            key = part.keys[int(part.tokens.max(1).argmax())]
            raise InputError(f"{path}: {shown(key)}: token {largest}; allowed: 0 to {codes - 1}")
        yield part


def read_shard_tokens(output: Path, shard: Path, *, codes: int, scales: list[int] | None = None) -> None:
    """Read a shard strictly, member by member, and write its keys, labels and tokens as a token table.

    Args:
        output: Parquet to write: key, label, tokens (h·w uint16, row-major).
        shard: WebDataset tar.
        codes: codes in the codebook; a token outside is an error.
        scales: rows and columns of every scale of tokens, from coarse to fine; not given: tokens have one scale.
    """
    samples = list(read_shard(shard, codes=codes))
    height, width = samples[0].grid.shape
    tokens = np.stack([sample.grid.ravel() for sample in samples])
    labels = np.array([sample.label for sample in samples])
    keys = [sample.key for sample in samples]
    write_tokens(output, Tokens(keys, labels, tokens, (height, width), scales=tuple(scales or ())))


def _joined(parts: Sequence[Tokens], scores: Sequence[str]) -> Tokens:
    return Tokens(
        [key for part in parts for key in part.keys],
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.tokens for part in parts]),
        parts[0].shape,
        {name: np.concatenate([part.scores[name] for part in parts]) for name in scores},
        parts[0].path.parent,
        parts[0].scales,
    )


def _same_images(one: Tokens, other: Tokens) -> bool:
    same = one.keys == other.keys and one.shape == other.shape
    return same and np.array_equal(one.labels, other.labels) and np.array_equal(one.tokens, other.tokens)


def _lists(values: NDArray[np.generic], kind: pa.DataType, size: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), kind), size)


def _read(path: Path, scores: Sequence[str]) -> Tokens:
    table = read_table(path, ["key", "label", "tokens", *scores])
    stated = _SHAPE.fullmatch((table.schema.metadata or {}).get(GRID.encode(), b""))
    if stated is None:
        raise InputError(f"{path}: not a token table: its metadata states no shape of the grid ({GRID}, as 16x16)")
    if not len(table):
        raise InputError(f"{path}: holds no images")
    height, width = map(int, stated.groups())
    for name, kind in (("key", pa.string()), ("label", pa.int32())):
        if table[name].type != kind or table[name].null_count:
            raise _wrong(path, table[name], name, f"{kind} without nulls")
    labels = table["label"].to_numpy().astype(np.int64)
    if labels.min() < 0 or labels.max() > MAX_LABEL:
        raise InputError(f"{path}: labels {labels.min()} to {labels.max()}; allowed: 0 to {MAX_LABEL}")
    return Tokens(
        table["key"].to_pylist(),
        labels,
        _flat(path, table["tokens"], "tokens", pa.uint16(), height * width),
        (height, width),
        {name: _flat(path, table[name], name, pa.float32(), height * width) for name in scores},
        path,
        tuple(map(int, (table.schema.metadata or {}).get(SCALES.encode(), b"").split())),
    )


def _flat(path: Path, column: pa.ChunkedArray, name: str, kind: pa.DataType, positions: int) -> NDArray[Any]:
    """A column of fixed-size lists as ``[N, P]``."""
    stated = column.type
    if pa.types.is_fixed_size_list(stated) and (stated.value_type, stated.list_size) == (kind, positions):
        values = column.combine_chunks().flatten()
        if not column.null_count and not values.null_count:
            return values.to_numpy().reshape(len(column), positions)
    raise _wrong(path, column, name, f"lists of {positions} {kind} (the grid's positions) without nulls")


def _wrong(path: Path, column: pa.ChunkedArray, name: str, allowed: str) -> InputError:
    nulls = " with nulls" if column.null_count else ""
    return InputError(
        f"{path}: column {name} is of {cut(str(column.type), 80)}{nulls}; in a token table it is of {allowed}"
    )

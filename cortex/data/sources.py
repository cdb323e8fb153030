"""Labels and token grids that others made, read a batch at a time; what is wrong is told by file and line or row.

Nothing is unpickled or evaluated, and no more than a batch of rows is held in memory.
"""

import csv
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import compress, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.lib import format as npy
from numpy.typing import NDArray

from cortex.core.errors import InputError, cut, quoted, reason_of
from cortex.core.file_kinds import not_whole
from cortex.core.text import read_lines
from cortex.data.given_pictures import Given

BATCH = 100  # rows
GRID_COLUMNS = ("grid", "tokens", "indices")  # of a Parquet file; the first that it has counts
CSV_COLUMNS = ("filename", "label", "indices")
EITHER = {"indices", "filename"}  # a .csv has one of them at least
BEYOND = 1 << 31  # stands for every larger number, which is no label and no token either

_NUMBER = re.compile(r"\s*\d{1,9}\s*", re.ASCII)
_NUMBERS = re.compile(r"\s*\[\s*\d{1,9}\s*(?:,\s*\d{1,9}\s*)*\]\s*", re.ASCII)


CsvRow = Mapping[str, str]  # values by column


@dataclass(frozen=True)
class Rows:
    """Some rows of a source.

    Args:
        place: what to call a row in errors, before its number: the file, and line or row.
        numbers: of the rows in the file, counted from 1, int64 ``[B]``.
        labels: int64 ``[B]``.
        grids: tokens int64 ``[B, h·w]``, row-major; 0 where there are none.
        embeddings: of a row without tokens, the file that has its embedding; else None.
        pictures: of the rows, where they have some.
    """

    place: str
    numbers: NDArray[np.int64]
    labels: NDArray[np.int64]
    grids: NDArray[np.int64]
    embeddings: list[Path | None]
    pictures: list[Given] = field(default_factory=list)

    def where(self, row: int) -> str:
        """A row's place in the file, for errors."""
        return f"{self.place} {self.numbers[row]}"

    def only(self, kept: NDArray[np.bool_]) -> "Rows":
        """The rows that are kept, bool ``[B]``."""
        embeddings = list(compress(self.embeddings, kept))
        pictures = list(compress(self.pictures, kept))
        return Rows(self.place, self.numbers[kept], self.labels[kept], self.grids[kept], embeddings, pictures)


def read_rows(source: Path, labels: Path | None, embeddings: Path | None, grid: tuple[int, int]) -> Iterator[Rows]:
    """The rows of a source in their order, some at a time.

    Args:
        source: one of
            ``.csv``: columns ``label`` and ``indices``, a list such as ``[17, 4, ...]``; and ``filename``, of the
            ``.npy`` file of the embedding, for rows whose indices are missing;
            ``.parquet``: columns ``label`` and ``grid``, ``tokens`` or ``indices``: lists of h·w, or h lists of w;
            ``.npy``: whole numbers ``[N, h, w]`` or ``[N, h·w]``.
        labels: ``.npy`` of whole numbers ``[N]``, for a source that is ``.npy``.
        embeddings: folder of the embeddings; the source's own if None.
        grid: (h, w).

    Raises:
        InputError: the source cannot be read, or a row is malformed; the row is named.
    """
    if (source.suffix == ".npy") != (labels is not None):
        raise InputError(f"{source}: a file of labels (--labels) goes with .npy, and with nothing else")
    if source.suffix == ".csv":
        yield from _csv_rows(source, embeddings or source.parent, grid)
    elif source.suffix == ".parquet":
        yield from _parquet_rows(source, grid)
    elif labels is not None:
        yield from _npy_rows(source, labels, grid)
    else:
        raise InputError(f"{source}: unknown kind of file; allowed: .csv, .parquet, .npy")


def with_pictures(rows: Iterator[Rows], pictures: Iterator[Given], source: Path) -> Iterator[Rows]:
    """The rows of a source with their pictures.

    Raises:
        InputError: there are more or fewer of them than rows.
    """
    for some in rows:
        found = list(islice(pictures, len(some.labels)))
        if len(found) < len(some.labels):
            raise InputError(f"{some.where(len(found))}: no picture; {source} has more rows than there are pictures")
        yield replace(some, pictures=found)
    for where, _ in islice(pictures, 1):
        raise InputError(f"{where}: a picture without a row in {source}")


def read_embedding(path: Path, shape: tuple[int, int, int], where: str) -> NDArray[np.float32]:
    """An embedding float32 ``[d, h, w]``; ``where`` is named in errors, too.

    Raises:
        InputError: the file is missing, damaged, or not such an array of finite numbers.
    """
    array = _map(path, f"{where}: ")
    if array.dtype != np.float32 or array.shape != shape:
        raise InputError(f"{where}: {path}: {array.dtype} of {array.shape}; expected float32 of {shape}")
    if not np.isfinite(array).all():
        raise InputError(f"{where}: {path}: numbers that are not finite")
    return array


def csv_rows(
    path: Path, columns: Sequence[str], needed: Callable[[set[str]], bool]
) -> Generator[tuple[int, CsvRow], None, None]:
    """The rows of a CSV file with a header, each with the number of its last line.

    Args:
        path: the file.
        columns: names of the columns, for errors.
        needed: whether a file with some columns has those that it must have.

    Raises:
        InputError: the file cannot be read, has other columns, or has a row of more or fewer values.
    """
    with closing(read_lines(path)) as lines:  # after an error too, whose traceback holds the open file
        reader = csv.reader(lines, strict=True, skipinitialspace=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            if not needed(set(header)) or len(set(header)) < len(header):
                raise InputError(f"{path}: columns {quoted(header)}; expected {', '.join(columns)}, each once")
            for row in filter(None, reader):
                if len(row) != len(header):
                    raise InputError(f"{path}: line {reader.line_num}: {len(row)} values in {len(header)} columns")
                yield reader.line_num, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}: line {reader.line_num}: {reason_of(error)}") from None


def _csv_rows(path: Path, folder: Path, grid: tuple[int, int]) -> Iterator[Rows]:
    place, rows = f"{path}: line", csv_rows(path, CSV_COLUMNS, lambda has: "label" in has and bool(has & EITHER))
    with closing(rows):
        while found := [(line, *_csv_row(row, folder, grid, f"{place} {line}")) for line, row in islice(rows, BATCH)]:
            yield _together(place, found, grid)


def csv_label(row: CsvRow, where: str) -> int:
    """The label of a row.

    Raises:
        InputError: it is no class index.
    """
    if not _NUMBER.fullmatch(row["label"]):
        raise InputError(f"{where}: label {_shown(row['label'])} is not a class index")
    return int(row["label"])


def csv_tokens(row: CsvRow, grid: tuple[int, int], where: str) -> list[int]:
    """The tokens of a row.

    Raises:
        InputError: they are no list of h·w numbers.
    """
    indices = row["indices"]
    if not _NUMBERS.fullmatch(indices):
        raise InputError(f"{where}: indices {_shown(indices)} are not a list such as [17, 4, 3]")
    tokens = [int(token) for token in indices.strip()[1:-1].split(",")]
    if len(tokens) != grid[0] * grid[1]:
        raise InputError(f"{where}: {len(tokens)} indices; a grid has {grid[0]}×{grid[1]}")
    return tokens


def _csv_row(row: CsvRow, folder: Path, grid: tuple[int, int], where: str) -> tuple[int, list[int] | None, Path | None]:
    """Label, tokens or None, and then the file of the embedding, of one row."""
    label = csv_label(row, where)
    if row.get("indices", "").strip() not in ("", "[]"):
        return label, csv_tokens(row, grid, where), None
    name = row.get("filename", "")
    file = Path(name if name.endswith(".npy") else f"{name}.npy")
    if not name.isprintable() or not name or file.is_absolute() or ".." in file.parts:
        raise InputError(f"{where}: no indices, and {_shown(name)} is no file in {folder}")
    return label, None, folder / file


def _together(place: str, found: list[tuple[int, int, list[int] | None, Path | None]], grid: tuple[int, int]) -> Rows:
    numbers, labels, tokens, embeddings = zip(*found, strict=True)
    none = [0] * (grid[0] * grid[1])
    grids = np.array([none if row is None else row for row in tokens], np.int64)
    return Rows(place, np.array(numbers, np.int64), np.array(labels, np.int64), grids, list(embeddings))


def _parquet_rows(path: Path, grid: tuple[int, int]) -> Iterator[Rows]:
    first = 1
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            column = next((name for name in GRID_COLUMNS if name in names), GRID_COLUMNS[0])
            if names.count("label") != 1 or names.count(column) != 1:
                raise InputError(
                    f"{path}: columns {quoted(names)}; expected label and one of {', '.join(GRID_COLUMNS)}"
                )
            for batch in file.iter_batches(BATCH, columns=["label", column]):
                place = f"{path}: row"
                labels = _numbers(batch["label"], (), f"{path}: column label", place, first)
                grids = _numbers(batch[column], grid, f"{path}: column {column}", place, first)
                numbers = np.arange(first, first + len(labels))
                yield Rows(place, numbers, labels, grids.reshape(len(labels), -1), [None] * len(labels))
                first += len(labels)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise not_whole(path, "Parquet file", error) from None


def _numbers(array: pa.Array, grid: tuple[int, ...], column: str, place: str, first: int) -> NDArray[np.int64]:
    """The whole numbers of a column, flat: one a row, or lists of h·w or h lists of w for a ``grid`` of (h, w)."""
    per_row = 1
    lengths = list(grid) if _is_list(array.type) and _is_list(array.type.value_type) else [int(np.prod(grid))]
    for length in lengths if grid else []:
        if not _is_list(array.type):
            raise InputError(f"{column}: {cut(str(array.type), 80)}; expected lists of whole numbers")
        _refuse_nulls(array, per_row, column, place, first)
        found = pc.list_value_length(array).to_numpy(zero_copy_only=False)
        for wrong in np.flatnonzero(found != length)[:1]:
            row = first + wrong // per_row
            raise InputError(f"{place} {row}: a list of {found[wrong]}; a grid has {' or '.join(map(str, lengths))}")
        array = pc.list_flatten(array)
        per_row *= length
    if not pa.types.is_integer(array.type):
        raise InputError(f"{column}: {cut(str(array.type), 80)}; expected {'lists of ' if grid else ''}whole numbers")
    _refuse_nulls(array, per_row, column, place, first)
    return _narrow(array.to_numpy(zero_copy_only=False))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _refuse_nulls(array: pa.Array, per_row: int, column: str, place: str, first: int) -> None:
    for null in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[:1]:
        raise InputError(f"{place} {first + null // per_row}: nothing in {column.rpartition(': ')[2]}")


def _narrow(numbers: NDArray[np.integer]) -> NDArray[np.int64]:
    """As int64, which unsigned numbers of 64 bits might not fit."""
    return (np.minimum(numbers, BEYOND) if numbers.dtype.str[1:] == "u8" else numbers).astype(np.int64)


def _npy_rows(source: Path, labels: Path, grid: tuple[int, int]) -> Iterator[Rows]:
    tokens, classes = _map(source), _map(labels)
    if tokens.dtype.kind not in "iu" or tokens.shape[1:] not in (grid, (grid[0] * grid[1],)):
        raise InputError(
            f"{source}: {tokens.dtype} of {tokens.shape}; expected whole numbers of (N, {grid[0]}, {grid[1]})"
        )
    if classes.dtype.kind not in "iu" or classes.shape != tokens.shape[:1]:
        raise InputError(f"{labels}: {classes.dtype} of {classes.shape}; expected whole numbers of ({len(tokens)},)")
    for first in range(0, len(tokens), BATCH):
        part, of = tokens[first : first + BATCH], classes[first : first + BATCH]
        numbers = np.arange(first + 1, first + 1 + len(part))
        yield Rows(f"{source}: row", numbers, _narrow(of), _narrow(part).reshape(len(part), -1), [None] * len(part))


def _map(path: Path, where: str = "") -> NDArray[Any]:
    """An npy file's array, mapped read-only; arrays of Python objects are refused."""
    try:
        if not path.is_file():  # to open a pipe would be to wait
            raise InputError(f"{where}{path}: no such file")
        array: NDArray[Any] = npy.open_memmap(path, mode="r")
        return array
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{where}{path}: {error.strerror or reason_of(error)}") from None
    except Exception as error:  # a damaged header raises whatever parsing it as Python raises
        raise not_whole(path, "npy file", error, where) from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")

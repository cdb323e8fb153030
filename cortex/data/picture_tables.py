"""Labelled pictures in tables: columns ``image`` and ``label``, as Hugging Face's datasets have them.

Files are Parquet, or Arrow's stream or file format, which ``datasets`` writes to a disk.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cortex.core.errors import InputError, cut, quoted
from cortex.core.file_kinds import not_whole

LABELS, IMAGES = 1000, 16  # rows in memory at a time
BUFFER = 1 << 20  # bytes of a column that are read at a time
ARROW_FILE = b"ARROW1"  # how Arrow's file format begins; its stream format begins otherwise


class Opened(Protocol):
    """An open file of a table: ``pyarrow.parquet.ParquetFile``, or :class:`ArrowFile`."""

    @property
    def schema_arrow(self) -> pa.Schema: ...

    def iter_batches(self, batch_size: int, *, columns: list[str]) -> Iterator[pa.RecordBatch]: ...


class ArrowFile:
    """A file of Arrow's stream or file format, mapped into memory."""

    def __init__(self, source: pa.NativeFile):
        self._source = source
        self._is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
        self.schema_arrow: pa.Schema = self._reader().schema

    def _reader(self) -> Any:
        self._source.seek(0)
        return pa.ipc.open_file(self._source) if self._is_file else pa.ipc.open_stream(self._source)

    def iter_batches(self, batch_size: int, *, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns, some rows at a time; a damaged batch is an ArrowException."""
        reader = self._reader()
        for batch in map(reader.get_batch, range(reader.num_record_batches)) if self._is_file else reader:
            wanted = batch.select(columns)
            wanted.validate(full=True)  # offsets of a damaged file could lie outside
            for start in range(0, len(wanted), batch_size):
                yield wanted.slice(start, batch_size)


def labels(paths: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """The place and class of every row, numbers as text."""
    for where, value in _rows(paths, "label", LABELS):
        if isinstance(value, int) and value < 0:
            raise InputError(f"{where}: label {value}: allowed: a number from 0, or text")
        yield where, str(value)


def contents(paths: Sequence[Path]) -> Iterator[tuple[str, bytes]]:
    """The place and the image file's bytes of every row."""
    yield from _rows(paths, "image", IMAGES)


def class_names(paths: Sequence[Path]) -> list[str] | None:
    """The names of classes that are numbers, if the files' metadata state them as Hugging Face's datasets do.

    Raises:
        InputError: files are damaged, have no such columns, or state different names.
    """
    stated = [_stated_names(path) for path in paths]
    for path, names in zip(paths, stated, strict=True):
        if names != stated[0]:
            raise InputError(f"{path}: its metadata name other classes than those of {paths[0]}")
    return stated[0]


def _stated_names(path: Path) -> list[str] | None:
    with _opened(path) as file:
        schema = file.schema_arrow
    kind = schema.field("label").type
    if not pa.types.is_integer(kind):
        return None
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features["label"]["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return names if isinstance(names, list) and names and all(isinstance(each, str) for each in names) else None


def _rows(paths: Sequence[Path], column: str, batch: int) -> Iterator[tuple[str, Any]]:
    """The place and value of a column's every row; a missing value is an error."""
    for path in paths:
        with _opened(path) as file:
            number = 0
            for part in file.iter_batches(batch, columns=[column]):
                values = part[column]
                if pa.types.is_struct(values.type):
                    values = pc.struct_field(values, "bytes")
                for value in values.to_pylist():
                    number += 1
                    where = f"{path}: row {number}"
                    if value is None:
                        raise InputError(f"{where}: nothing in {column}")
                    yield where, value


@contextmanager
def _opened(path: Path) -> Iterator[Opened]:
    """A file with the two columns; whatever is wrong with it becomes an error that names it."""
    arrow = path.suffix == ".arrow"
    try:
        with (
            pa.memory_map(str(path))
            if arrow
            else pq.ParquetFile(path, page_checksum_verification=True, buffer_size=BUFFER)
        ) as opened:
            file: Opened = ArrowFile(opened) if arrow else opened
            _check_columns(path, file.schema_arrow)
            yield file
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise not_whole(path, "Arrow file" if arrow else "Parquet file", error) from None


def _check_columns(path: Path, schema: pa.Schema) -> None:
    for name, allowed, expected in (
        ("image", _is_image, "binary, or a struct with bytes"),
        ("label", _is_label, "whole numbers or text"),
    ):
        if schema.names.count(name) != 1:
            raise InputError(f"{path}: columns {quoted(schema.names)}; expected image and label")
        if not allowed(schema.field(name).type):
            raise InputError(f"{path}: column {name}: {cut(str(schema.field(name).type), 80)}; expected {expected}")


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_image(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)

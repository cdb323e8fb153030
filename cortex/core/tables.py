"""Parquet tables: written whole, with their provenance; read with errors that name the file and the column."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cortex.core.errors import InputError, quoted
from cortex.core.file_kinds import not_whole
from cortex.core.files import whole_file
from cortex.core.provenance import provenance


def write_table(path: Path, table: pa.Table, stated: Mapping[str, str] | None = None) -> None:
    """Write ``table`` to ``path`` with :func:`~cortex.core.provenance.provenance` in its schema metadata.

    Args:
        path: Parquet to write.
        table: its rows.
        stated: further schema metadata.
    """
    metadata = {f"cortex.{name}": value for name, value in provenance().items()} | dict(stated or {})
    with whole_file(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd", write_page_checksum=True)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The table at ``path``, or those of its columns.

    Raises:
        InputError: the file is missing, truncated or not Parquet, or lacks a column or has it twice.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = file.schema_arrow.names
            if twice := [name for name in columns or names if names.count(name) > 1]:
                raise InputError(f"{path}: several columns {quoted(twice[:1])}; allowed: one of each name")
            if set(columns or ()) <= set(names):
                return file.read(columns=list(columns) if columns is not None else None)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such Parquet file") from None
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no text
        raise not_whole(path, "Parquet file", error) from None
    raise _lacking(path, columns or (), names)


def check_columns(path: Path, table: pa.Table, columns: Sequence[str]) -> None:
    """Raise an InputError as :func:`read_table` does unless a table that was read from ``path`` has these columns."""
    if not set(columns) <= set(table.column_names):
        raise _lacking(path, columns, table.column_names)


def _lacking(path: Path, columns: Sequence[str], names: Sequence[str]) -> InputError:
    return InputError(f"{path}: no column {quoted(sorted(set(columns) - set(names)))}; it has {quoted(names)}")

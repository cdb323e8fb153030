"""Parquet and Arrow tables with columns of other types, shapes and values under the right names."""

import io
import math

import pyarrow as pa
import pyarrow.parquet as pq

from tests.unit.fuzz.mutators import NUMBERS, WORDS, some_bytes

KINDS = [pa.int8(), pa.int32(), pa.int64(), pa.uint16(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()]
KINDS += [
    pa.bool_(),
    pa.string(),
    pa.large_string(),
    pa.binary(),
    pa.null(),
    pa.date32(),
    pa.timestamp("ns"),
    pa.decimal128(9, 2),
]


def some_parquet(random, content):
    """A Parquet file of a changed table, or changed bytes."""
    return _changed(random, content, pq.read_table, _as_parquet)


def some_arrow(random, content):
    """An Arrow stream of a changed table, or changed bytes."""
    return _changed(random, content, lambda file: pa.ipc.open_stream(file).read_all(), _as_arrow)


def _changed(random, content, read, write):
    if random.random() < 0.35:
        return some_bytes(random, content)
    try:
        return write(some_table(random, read(io.BytesIO(content))))
    except (pa.ArrowException, ArithmeticError, LookupError, TypeError, ValueError):  # no such table can be
        return some_bytes(random, content)


def _as_parquet(table):
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", write_page_checksum=True)
    return file.getvalue()


def _as_arrow(table):
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    return file.getvalue()


def some_table(random, table):  # noqa: PLR0911 a case, a change
    """The table with a column or its metadata changed."""
    place = random.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    match random.randrange(9):
        case 0:
            return table.remove_column(place)
        case 1:
            return table.append_column(name, column)
        case 2:
            other = random.choice(WORDS[:10])
            return table.rename_columns([other if each == name else each for each in table.column_names])
        case 3:
            return table.slice(0, random.choice([0, 1]))
        case 4:
            stated = {key: some_bytes(random, value) for key, value in (table.schema.metadata or {b"a": b"b"}).items()}
            grid = random.choice(["0x0", "999999x999999", "2x3", ""])
            return table.replace_schema_metadata({**stated, "cortex.grid": grid})
        case 5:
            return pa.concat_tables([table] * random.choice([2, 3]))
        case _:
            return table.set_column(place, name, some_column(random, column))


def some_column(random, column):
    """A column with other values of its type, or of another type."""
    values = column.to_pylist()
    row = random.randrange(len(values)) if values else 0
    match random.randrange(5):
        case 0:
            return pa.array([None if place == row else value for place, value in enumerate(values)], column.type)
        case 1:
            kind = random.choice([pa.float32(), pa.float64()])
            return pa.array([random.choice([None, math.nan, 1, 2.5]) for _ in values], kind)
        case 2:
            found = [_other(random, value) if place == row else value for place, value in enumerate(values)]
            return pa.array(found, column.type)
        case 3:
            if random.random() < 0.3:
                return pa.array([[place] for place in range(len(values))], pa.list_(pa.int64()))
            return pa.nulls(len(values), random.choice(KINDS))
        case _:
            return pa.array([random.choice(WORDS[:10]) for _ in values]).dictionary_encode()


def _other(random, value):
    if isinstance(value, list):
        return random.choice([value[:-1], value + value, [_other(random, part) for part in value], []])
    if isinstance(value, str):
        return random.choice(WORDS[:10])
    if isinstance(value, bytes):
        return some_bytes(random, value)
    if isinstance(value, dict):
        return {key: random.choice([None, _other(random, part)]) for key, part in value.items()}
    return random.choice(NUMBERS[:15])

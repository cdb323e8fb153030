"""Data of the atlas: scripts that each hand one value to the page. A page from a file may load scripts, not data."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError

DIGITS = 4  # significant digits of numbers
TINY = 1e-30  # numbers below are zero


def write_part(folder: Path, name: str, value: Any) -> None:
    """Write ``folder/data/NAME.js``, which hands the value to the page.

    Args:
        folder: of the atlas.
        name: of the part.
        value: of plain types that JSON has.
    """
    path = folder / "data" / f"{name}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # characters that are not ASCII are escaped
    path.write_text(f"atlas.receive({json.dumps(name)},{text});\n", encoding="ascii")


def read_part(folder: Path, name: str) -> Any:
    """The value of a part that :func:`write_part` wrote.

    Raises:
        InputError: it is missing.
    """
    path = folder / "data" / f"{name}.js"
    if not path.is_file():
        raise InputError(f"{path}: no such file; the run has no atlas, which snakemake atlas writes")
    return json.loads(path.read_text(encoding="ascii").partition(",")[2].removesuffix(");\n"))


def plain(values: NDArray[Any]) -> list[Any]:
    """An array as lists of plain numbers: floats with four significant digits, null where they are not finite."""
    return listed(rounded(values))


def rounded(values: NDArray[Any]) -> NDArray[Any]:
    """An array with floats of four significant digits; NaN where they are not finite."""
    if values.dtype.kind != "f":
        return values
    exact = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    size = np.abs(np.where(np.abs(exact) > TINY, exact, 1))
    scale = 10.0 ** (DIGITS - 1 - np.floor(np.log10(size)))
    return np.round(exact * scale) / scale


def listed(values: NDArray[Any]) -> list[Any]:
    """An array as lists of plain numbers, null for NaN."""
    if values.dtype.kind != "f" or not np.isnan(values).any():
        return values.tolist()
    found = values.astype(object)
    found[np.isnan(values)] = None
    return found.tolist()


def numbers(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """A column of numbers as an array; of integers with nulls, and of floats, NaN stands for null."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_integer(whole.type) and not whole.null_count:
        return whole.to_numpy()
    return whole.cast(pa.float64()).to_numpy(zero_copy_only=False)


def columns_at(columns: Mapping[str, NDArray[Any]], rows: NDArray[np.integer]) -> dict[str, list[Any]]:
    """Some rows of columns of rounded numbers, each as a list; columns without a value there are left out."""
    found = {name: values[rows] for name, values in columns.items()}
    return {name: listed(values) for name, values in found.items() if not np.isnan(values).all()}

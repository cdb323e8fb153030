"""The authors' tables of token importance: CSV files of one class each (METHOD.md, section 4)."""

import re
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.core.errors import InputError, listed, shown
from cortex.core.progress import progress
from cortex.data.sources import CSV_COLUMNS, csv_label, csv_rows, csv_tokens
from cortex.data.tokens import Tokens, write_tokens
from cortex.explain import IMPORTANCE
from cortex.generators.spec import MAX_CODES

COLUMNS = ("filename", "label", "contribution")
_REAL = r"[-+]?\d{1,25}(?:\.\d{0,25})?(?:[eE][-+]?\d{1,3})?"
_REALS = re.compile(rf"\s*\[\s*{_REAL}\s*(?:,\s*{_REAL}\s*)*\]\s*", re.ASCII)


def import_scores(
    output: Path, scores: list[Path], source: Path, *, grid_height: int = 16, grid_width: int = 16
) -> None:
    """Read token importance that the authors' code computed, as an importance file for other commands.

    Images are in the order of the tables. All tables of a call are held in memory. Nothing is unpickled or evaluated.

    Args:
        output: Parquet to write: key (the file name of the image's embedding), label, tokens, importance.
        scores: tables of the authors' TIS_computation.py, label_0.csv and so on, with the columns filename, label and
            contribution (a number for every position, row-major).
        source: table of the images that were explained, such as train_embeddings.csv, with the columns filename, label
            and indices.
        grid_height: rows of the token grids.
        grid_width: columns of these grids.

    Raises:
        InputError: a table cannot be read; a row is malformed; an image is named twice, is not in the source, or has
            another label there.
    """
    grid = grid_height, grid_width
    found: dict[str, tuple[int, NDArray[np.float32]]] = {}
    for path in progress(scores, len(scores), "reading scores", "table"):
        with closing(csv_rows(path, COLUMNS, set(COLUMNS).issubset)) as rows:
            for line, row in rows:
                where = f"{path}: line {line}"
                if row["filename"] in found:
                    raise InputError(f"{where}: {shown(row['filename'])}: named a second time")
                found[row["filename"]] = csv_label(row, where), _contributions(row["contribution"], grid, where)
    if not found:
        raise InputError(f"{scores[0] if scores else '--scores'}: no scores")
    tokens = _tokens_of(found, source, grid)
    labels = np.array([label for label, _ in found.values()], np.int64)
    values = {IMPORTANCE: np.stack([numbers for _, numbers in found.values()])}
    write_tokens(output, Tokens(list(found), labels, tokens, grid, values, source))


def _contributions(text: str, grid: tuple[int, int], where: str) -> NDArray[np.float32]:
    """The scores of an image's positions."""
    if not _REALS.fullmatch(text):
        raise InputError(f"{where}: contribution {shown(text[:60])} is not a list of numbers such as [0.1, -2e-05]")
    values = np.array(text.strip()[1:-1].split(","), np.float64)
    if len(values) != grid[0] * grid[1]:
        raise InputError(f"{where}: {len(values)} scores; a grid has {grid[0]}×{grid[1]}")
    if np.abs(values).max() > np.finfo(np.float32).max:
        raise InputError(f"{where}: scores that float32 cannot hold")
    return values.astype(np.float32)


def _tokens_of(
    found: dict[str, tuple[int, NDArray[np.float32]]], source: Path, grid: tuple[int, int]
) -> NDArray[np.uint16]:
    """The tokens of images, ``[N, P]``, from the table of all images."""
    row_of = {name: row for row, name in enumerate(found)}
    tokens = np.zeros((len(found), grid[0] * grid[1]), np.uint16)
    left = set(row_of)
    with closing(csv_rows(source, CSV_COLUMNS, set(CSV_COLUMNS).issubset)) as rows:
        for line, row in rows:
            name, where = row["filename"], f"{source}: line {line}"
            if name not in row_of:
                continue
            if name not in left:
                raise InputError(f"{where}: {shown(name)}: named a second time")
            label, codes = csv_label(row, where), csv_tokens(row, grid, where)
            if label != found[name][0]:
                raise InputError(f"{where}: {shown(name)} has label {label}; in the scores, {found[name][0]}")
            if max(codes) >= MAX_CODES:
                raise InputError(f"{where}: token {max(codes)}; allowed: 0 to {MAX_CODES - 1}")
            tokens[row_of[name]] = codes
            left.remove(name)
    if left:
        raise InputError(f"{source}: no image {listed([name for name in found if name in left])}")
    return tokens

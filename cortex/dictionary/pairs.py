"""The pairs of a class and a code whose causes are measured."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.packed import read_packed
from cortex.dictionary.kinds import MARKS, kinds_of
from cortex.dictionary.occurrences import Occurrences, count_occurrences
from cortex.dictionary.settings import Kinds

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
SCHEMA = pa.schema([("label", pa.int32()), ("token", pa.int32())])


def choose_pairs(output: Path, grids: Path, frequent_tokens: Path, *, codes: int, pairs: int, settings: Kinds) -> None:
    """Choose the pairs of a class and a code whose causes are measured.

    Codes that mark a class come first: of every class the code in the most images, then the second of every class, and
    so on. Then come the first codes of every class by contrast.

    Args:
        output: Parquet to write, a row a pair, the first choice first: label, token.
        grids: packed grids of the train split.
        frequent_tokens: the most frequent tokens of every class.
        codes: codes in the codebook.
        pairs: pairs to choose, at most.
        settings: bounds of the kinds of codes.
    """
    found = count_occurrences(read_packed(grids), codes)
    parts = zip(marking(found, settings), contrasting(frequent_tokens), strict=True)
    labels, tokens = (np.concatenate(part) for part in parts)
    _, first = np.unique(labels * codes + tokens, return_index=True)
    first = np.sort(first)[:pairs]
    write_table(output, pa.table({"label": labels[first], "token": tokens[first]}).cast(SCHEMA))


def marking(found: Occurrences, settings: Kinds) -> Pairs:
    """Labels and tokens of the codes that mark a class: in turn from every class, those in the most images first."""
    kinds = kinds_of(found, settings)
    tokens = np.flatnonzero(kinds.kinds == MARKS)
    labels = kinds.classes.take(pa.array(tokens)).flatten().to_numpy().astype(np.int64)
    pairs = found.labels * found.codes + found.tokens  # ascending
    held = found.images[np.searchsorted(pairs, labels * found.codes + tokens)]
    order = np.lexsort((tokens, -held, labels))
    labels, tokens = labels[order], tokens[order]
    place = np.arange(len(labels)) - np.searchsorted(labels, labels)
    order = np.lexsort((labels, place))
    return labels[order], tokens[order]


def contrasting(frequent_tokens: Path) -> Pairs:
    """Labels and tokens of the contrast lists of frequent tokens: in turn from every class, first ranks first."""
    lists = read_table(frequent_tokens, ["label", "list", "rank", "token"])
    lists = lists.filter(pc.equal(lists["list"], "contrast")).sort_by([("rank", "ascending"), ("label", "ascending")])
    labels, tokens = (lists[name].to_numpy().astype(np.int64) for name in ("label", "token"))
    return labels, tokens


def read_pairs(path: Path, codes: int) -> Pairs:
    """Labels and tokens that :func:`choose_pairs` wrote.

    Raises:
        InputError: a token is not in the codebook.
    """
    table = read_table(path, SCHEMA.names)
    labels, tokens = (table[name].to_numpy().astype(np.int64) for name in SCHEMA.names)
    if len(tokens) and tokens.max() >= codes:
        raise InputError(f"{path}: token {tokens.max()}; the codebook has the codes 0 to {codes - 1}")
    return labels, tokens

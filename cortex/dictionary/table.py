"""The dictionary: a row for every code and class."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.files import named_path
from cortex.core.tables import read_table, write_table
from cortex.data.packed import read_packed
from cortex.dictionary.effects import effects
from cortex.dictionary.log_odds import log_odds
from cortex.dictionary.occurrences import Occurrences, count_occurrences
from cortex.explain import IMPORTANCE
from cortex.explain.concept_tokens import LISTS
from cortex.generators.load import generator_spec

LEAST = "cortex.least_images"  # keys of the schema metadata
PAIRS = "cortex.pairs"
TOP_N = "cortex.top_n"


def write_dictionary(
    output: Path,
    grids: Path,
    codebook: Path,
    *,
    importance: tuple[str, ...] = (),
    concept_tokens: tuple[str, ...] = (),
    top_n: int,
    masked: tuple[Path, ...] = (),
    placed: tuple[Path, ...] = (),
    rows: int,
) -> None:
    """Write the dictionary of the codebook: a row for every code and class.

    The table's metadata states the least number of images of a row (cortex.least_images). It also states the number of
    pairs of a code and a class that occur (cortex.pairs), and the top_n of the ranks (cortex.top_n). Pairs whose causes
    were measured have a row whatever their number of images.

    Args:
        output: Parquet to write: label, class_name, token, count (occurrences in the class's train images), images (of
            the class that hold the code), share (of the class's positions), class_share (of the code's occurrences,
            were classes equally frequent), log_odds (against the other classes), log_odds_low, log_odds_high; for every
            attribution and extractor importance/ATTRIBUTION/EXTRACTOR (mean where the code is present, in standard
            deviations of the image), count_rank/... and contrast_rank/... (place in the class's lists of concept
            tokens, from 0; null: not in the list); masked and placed (change of the judges' probability of the class
            when the code alone is masked, and when it is put in place of another) with masked_images, masked_random,
            masked_excess and their intervals; null where they were not measured.
        grids: packed grids of the train split.
        codebook: the generator's codebook, with the names of the classes.
        importance: mean importance of codes, as ATTRIBUTION/EXTRACTOR=path.
        concept_tokens: concept-level tokens, as ATTRIBUTION/EXTRACTOR=path.
        top_n: positions of an image that count as important; of the lists.
        masked: rows of the command mask-codes, a file for each judge.
        placed: rows of the command place-codes, a file for each judge.
        rows: rows to keep, at most, of those whose causes were not measured.
    """
    spec = generator_spec(codebook, "codebook")
    found = count_occurrences(read_packed(grids), spec.codes)
    causes = [effects(name, tables) for name, tables in (("masked", masked), ("placed", placed)) if tables]
    pairs, least = found.labels * found.codes + found.tokens, least_images(found.images, rows)
    measured = [_pairs_of(table, found.codes) for table in causes]
    kept = (found.images >= least) | np.isin(pairs, np.concatenate([*measured, pairs[:0]]))
    columns = {name: pa.array(values[kept], from_pandas=True) for name, values in _counted(found).items()}
    labels, names = columns.pop("label"), pa.array(spec.class_names or map(str, range(len(found.class_images))))
    columns = {"label": labels, "class_name": names.take(labels), **columns}
    for name, path in map(named_path, importance):
        table = read_table(path, ["label", "token", IMPORTANCE])
        columns[f"{IMPORTANCE}/{name}"] = _joined(pairs[kept], _pairs_of(table, found.codes), table[IMPORTANCE])
    for name, path in map(named_path, concept_tokens):
        columns |= _ranks(
            name, read_table(path, ["label", "top_n", "list", "rank", "token"]), top_n, pairs[kept], found.codes
        )
    for table, of in zip(causes, measured, strict=True):
        columns |= {name: _joined(pairs[kept], of, table[name]) for name in table.column_names[2:]}
    stated = {LEAST: str(least), PAIRS: str(len(pairs)), TOP_N: str(top_n)}
    write_table(output, pa.table(columns), stated)


def least_images(images: NDArray[np.int64], rows: int) -> int:
    """The least number of images such that at most so many pairs have as many."""
    if len(images) <= rows:
        return 1
    return int(np.sort(images)[::-1][rows]) + 1


def _counted(found: Occurrences) -> dict[str, NDArray[Any]]:
    """Columns from the occurrences, in the order of the pairs."""
    value, low, high = log_odds(found)
    return {
        "label": found.labels.astype(np.int32),
        "token": found.tokens.astype(np.int32),
        "count": found.counts,
        "images": found.images,
        "share": found.rates / found.positions,
        "class_share": found.class_shares(),
        "log_odds": value,
        "log_odds_low": low,
        "log_odds_high": high,
    }


def _ranks(name: str, lists: pa.Table, top_n: int, pairs: NDArray[np.int64], codes: int) -> dict[str, pa.Array]:
    """Places of the pairs in the lists of both kinds."""
    of_n = lists.filter(pc.equal(lists["top_n"], top_n))
    found = {}
    for kind in LISTS:
        part = of_n.filter(pc.equal(of_n["list"], kind))
        found[f"{kind}_rank/{name}"] = _joined(pairs, _pairs_of(part, codes), part["rank"])
    return found


def _pairs_of(table: pa.Table, codes: int) -> NDArray[np.int64]:
    """Pairs of a table's columns label and token, as label · K + token."""
    labels, tokens = (table[name].to_numpy().astype(np.int64) for name in ("label", "token"))
    pairs: NDArray[np.int64] = labels * codes + tokens
    return pairs


def _joined(pairs: NDArray[np.int64], others: NDArray[np.int64], values: pa.ChunkedArray) -> pa.Array:
    """The value of every pair, of values of other pairs; null where it has none."""
    if not len(others):
        return pa.nulls(len(pairs), values.type)
    order = np.argsort(others)
    place = np.minimum(np.searchsorted(others, pairs, sorter=order), len(others) - 1)
    rows = order[place]
    return values.combine_chunks().take(pa.array(rows, mask=others[rows] != pairs))

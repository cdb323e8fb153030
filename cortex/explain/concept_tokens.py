"""Concept-level explanation: the tokens that are important again and again over a concept's images (section 4)."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.packed import read_packed
from cortex.explain.explained import ranks, read_explained

COLUMNS = [("label", pa.int32()), ("rank", pa.int32()), ("token", pa.int32()), ("count", pa.int64())]
SCHEMA = pa.schema([COLUMNS[0], ("top_n", pa.int32()), *COLUMNS[1:]])
FREQUENCY_SCHEMA = pa.schema(COLUMNS)


class TokenCounts:
    """Counts of (label, token) pairs, added up part by part.

    Memory is that of the distinct pairs that occur, not of labels × codebook.

    Args:
        codes: codes in the codebook, K.
    """

    def __init__(self, codes: int):
        self.codes = codes
        self.pairs = np.empty(0, np.int64)  # label · K + token, ascending
        self.counts = np.empty(0, np.int64)

    def add(self, labels: NDArray[np.integer], tokens: NDArray[np.integer]) -> None:
        """Count tokens ``[N, n]`` of images with labels ``[N]``."""
        pairs, counts = _distinct((labels.astype(np.int64)[:, None] * self.codes + tokens).ravel())
        merged, _ = _distinct(np.concatenate([self.pairs, pairs]))
        total = np.zeros(len(merged), np.int64)
        total[np.searchsorted(merged, self.pairs)] = self.counts
        total[np.searchsorted(merged, pairs)] += counts
        self.pairs, self.counts = merged, total

    def most_counted(self, tokens: int) -> dict[str, NDArray[np.int64]]:
        """Columns label, rank (from 0), token, count: the most counted tokens of every label; ties go to the lower."""
        labels, codes = np.divmod(self.pairs, self.codes)
        order = np.lexsort((codes, -self.counts, labels))
        labels, codes, counts = labels[order], codes[order], self.counts[order]
        _, first, sizes = np.unique(labels, return_index=True, return_counts=True)
        rank = np.arange(len(labels)) - np.repeat(first, sizes)
        kept = rank < tokens
        return {"label": labels[kept], "rank": rank[kept], "token": codes[kept], "count": counts[kept]}


def _distinct(values: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct values, ascending, and how often each occurs; ``values`` are sorted in place.

    As ``numpy.unique``, several times faster: stable sorting merges what is in order already.
    """
    values.sort(kind="stable")
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))
    return values[starts], np.diff(starts, append=len(values))


def count_important(
    output: Path, shards: list[Path], importance: list[Path], *, codes: int, top_n: list[int], tokens: int = 100
) -> None:
    """Find the concept-level tokens of every label: those that most often stand among an image's top-n positions.

    Args:
        output: Parquet to write: label, top_n, rank (from 0), token, count.
        shards: tars of the train split.
        importance: their importance files, in the same order.
        codes: codes in the codebook.
        top_n: how many of an image's most important positions count; one result for each.
        tokens: tokens to keep for a label.
    """
    if len(shards) != len(importance):
        raise InputError(f"{len(shards)} shards, {len(importance)} importance files: one for each is needed")
    counters = {n: TokenCounts(codes) for n in top_n}
    pairs = list(zip(shards, importance, strict=True))
    for shard, scores in progress(pairs, len(pairs), "counting", "shard"):
        explained = read_explained(shard, scores)
        if int(explained.grids.max()) >= codes:
            raise InputError(f"{shard}: token {int(explained.grids.max())}; allowed: 0 to {codes - 1}")
        by_rank = np.empty_like(explained.grids)
        np.put_along_axis(by_rank, ranks(explained.importance), explained.grids, axis=1)
        for n, counter in counters.items():
            counter.add(explained.labels, by_rank[:, :n])
    columns = [counters[n].most_counted(tokens) for n in top_n]
    labelled = [part | {"top_n": np.full_like(part["label"], n)} for n, part in zip(top_n, columns, strict=True)]
    write_table(output, _table(labelled, SCHEMA))


def count_frequent(output: Path, grids: Path, *, codes: int, tokens: int = 100) -> None:
    """Find the frequency baseline: the tokens that occur most often in a label's grids, importance ignored.

    Args:
        output: Parquet to write: label, rank (from 0), token, count.
        grids: packed grids of the train split.
        codes: codes in the codebook.
        tokens: tokens to keep for a label.
    """
    packed = read_packed(grids)
    counter = TokenCounts(codes)
    for start in range(0, len(packed), 10_000):
        part = packed[start : start + 10_000]
        counter.add(part["label"], part["grid"].reshape(len(part), -1))
    write_table(output, _table([counter.most_counted(tokens)], FREQUENCY_SCHEMA))


def _table(parts: Iterable[dict[str, NDArray[np.int64]]], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(pa.table({name: part[name] for name in schema.names}).cast(schema) for part in parts)

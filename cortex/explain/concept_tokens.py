"""Concept-level explanation: tokens that are important in many images of a concept (METHOD.md, section 4)."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.packed import read_packed
from cortex.data.tokens import Tokens, iterate_tokens
from cortex.explain import IMPORTANCE
from cortex.explain.ranks import ranks
from cortex.explain.settings import ConceptTokens

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

    As ``numpy.unique``, several times faster: a stable sort merges runs that are in order already.
    """
    values.sort(kind="stable")
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))
    return values[starts], np.diff(starts, append=len(values))


def count_important(output: Path, scores: list[Path], *, codes: int, settings: ConceptTokens) -> None:
    """Find the concept-level tokens of every label: the codes most often among the top-n positions of its images.

    Args:
        output: Parquet to write: label, top_n (positions of an image that count), rank (from 0), token (code), count
            (occurrences at these positions).
        scores: importance files of the train split.
        codes: codes in the codebook.
        settings: values of top_n, each with a result of its own, and number of tokens to keep.
    """
    files = iterate_tokens(scores, [IMPORTANCE], codes=codes)
    write_table(output, concept_table(progress(files, len(scores), "counting", "shard"), codes, settings))


def concept_table(parts: Iterable[Tokens], codes: int, settings: ConceptTokens) -> pa.Table:
    """The concept-level tokens of images that come part by part, as :func:`count_important` writes them.

    Args:
        parts: images with ``scores["importance"]``.
        codes: codes in the codebook.
        settings: top_n, and the number of tokens to keep.
    """
    counters = {n: TokenCounts(codes) for n in settings.top_n}
    for images in parts:
        by_rank = np.empty_like(images.tokens)
        np.put_along_axis(by_rank, ranks(images.scores[IMPORTANCE]), images.tokens, axis=1)
        for n, counter in counters.items():
            counter.add(images.labels, by_rank[:, :n])
    columns = {n: counter.most_counted(settings.tokens) for n, counter in counters.items()}
    return _table([found | {"top_n": np.full_like(found["label"], n)} for n, found in columns.items()], SCHEMA)


def count_frequent(output: Path, grids: Path, *, codes: int, tokens: int) -> None:
    """Find the frequency baseline: the most frequent tokens of a label's grids, importance ignored.

    Args:
        output: Parquet to write: label, rank (from 0), token (code), count (occurrences).
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

"""Concept-level explanation: tokens that are important in many images of a concept (METHOD.md, section 4)."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.packed import read_packed
from cortex.data.tokens import Tokens, iterate_tokens
from cortex.explain import IMPORTANCE
from cortex.explain.pair_sums import PairSums, distinct, starts_of
from cortex.explain.ranks import ranks
from cortex.explain.settings import ConceptTokens

SCHEMA = pa.schema(
    [
        ("label", pa.int32()),
        ("top_n", pa.int32()),
        ("list", pa.string()),
        ("rank", pa.int32()),
        ("token", pa.int32()),
        ("count", pa.int64()),
        ("share", pa.float64()),
    ]
)
FREQUENCY_SCHEMA = SCHEMA.remove(SCHEMA.get_field_index("top_n"))
LISTS = ("count", "contrast")
DIGITS = 9  # of contrasts and shares: a smaller difference is one of rounding


class TokenCounts:
    """Counts of (label, token) pairs and of every label's images, added up part by part.

    Memory is that of the distinct pairs that occur, not of labels × codebook.

    Args:
        codes: codes in the codebook, K.
    """

    def __init__(self, codes: int):
        self.codes = codes
        self.images = np.empty(0, np.int64)  # by label
        self._sums = PairSums()

    @property
    def pairs(self) -> NDArray[np.int64]:
        """The pairs, label · K + token, ascending."""
        return self._sums.pairs

    @property
    def counts(self) -> NDArray[np.int64]:
        """How often every pair was counted."""
        counts: NDArray[np.int64] = self._sums.sums[0]
        return counts

    def add(self, labels: NDArray[np.integer], tokens: NDArray[np.integer]) -> None:
        """Count tokens ``[N, n]`` of images with labels ``[N]``."""
        pairs, counts = distinct((labels.astype(np.int64)[:, None] * self.codes + tokens).ravel())
        self._sums.add(pairs, counts[None])
        images = np.bincount(labels, minlength=len(self.images))
        images[: len(self.images)] += self.images
        self.images = images

    def contrasts(self) -> NDArray[np.float64]:
        """How much more often every pair's token is counted in an image of its label than in one of another label.

        This is the mean count an image of the label, less the mean of the other labels' such means. A single label has
        nothing to be compared with: its means are returned.
        """
        labels, tokens = np.divmod(self.pairs, self.codes)
        rates = self.counts / self.images[labels]
        elsewhere = np.bincount(tokens, rates)[tokens] - rates
        others = max(int(np.count_nonzero(self.images)) - 1, 1)
        contrasts: NDArray[np.float64] = np.round(rates - elsewhere / others, DIGITS)
        return contrasts

    def lists(self) -> Iterator[tuple[str, dict[str, NDArray[np.int64]]]]:
        """Every label's tokens as lists of two kinds, each with its columns label, rank (from 0), token, count.

        ``count`` lists the most counted tokens first; ``contrast`` those of highest contrast, above 0 alone. Ties go to
        the lower token.
        """
        for name, values in zip(LISTS, (self.counts, self.contrasts()), strict=True):
            order = np.lexsort((-values, self.pairs // self.codes))  # stable
            order = order[values[order] > 0]
            labels, tokens = np.divmod(self.pairs[order], self.codes)
            rank = np.arange(len(labels)) - _starts(labels)
            yield name, {"label": labels, "rank": rank, "token": tokens, "count": self.counts[order]}

    def shares(self, labels: NDArray[np.int64], tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Share of a label's counted tokens that a token is, for pairs of a label and a token that were counted."""
        totals = np.bincount(self.pairs // self.codes, self.counts)
        shares: NDArray[np.float64] = (
            self.counts[np.searchsorted(self.pairs, labels * self.codes + tokens)] / totals[labels]
        )
        return shares


def covering(labels: NDArray[np.integer], shares: NDArray[np.floating], area: float) -> NDArray[np.bool_]:
    """Which tokens belong to the shortest beginning of their list that covers an area; all where the list covers less.

    Args:
        labels: of the tokens, a list after another.
        shares: share of the label's positions that every token covers.
        area: share of the label's positions, 0..1.
    """
    before = np.cumsum(shares) - shares
    belongs: NDArray[np.bool_] = before - before[_starts(labels)] < area - 10**-DIGITS
    return belongs


def count_important(
    output: Path, scores: list[Path], *, codes: int, settings: ConceptTokens, cover: float = 0.0
) -> None:
    """Find the concept-level tokens of every label: the codes most often among the top-n positions of its images.

    Args:
        output: Parquet to write: label, top_n (positions of an image that count), list (count: the codes most often at
            these positions, as published; contrast: the codes that stand there more often an image than in other
            labels' images, by the difference), rank (from 0), token (code), count (occurrences at these positions),
            share (of the label's positions that hold the code).
        scores: importance files of the train split.
        codes: codes in the codebook.
        settings: values of top_n, each with a result of its own, and number of tokens to keep.
        cover: share of a label's positions, 0..1. Longer lists are kept until their tokens cover it.
    """
    files = iterate_tokens(scores, [IMPORTANCE], codes=codes)
    write_table(output, concept_table(progress(files, len(scores), "counting", "shard"), codes, settings, cover))


def concept_table(parts: Iterable[Tokens], codes: int, settings: ConceptTokens, cover: float = 0.0) -> pa.Table:
    """The concept-level tokens of images that come part by part, as :func:`count_important` writes them.

    Args:
        parts: images with ``scores["importance"]``.
        codes: codes in the codebook.
        settings: top_n, and the number of tokens to keep.
        cover: share of a label's positions that lists are kept long enough for.
    """
    counters, everywhere = {n: TokenCounts(codes) for n in settings.top_n}, TokenCounts(codes)
    for images in parts:
        if max(settings.top_n) > images.tokens.shape[1]:
            raise InputError(f"--top-n = {max(settings.top_n)}: the grids have {images.tokens.shape[1]} positions")
        by_rank = np.empty_like(images.tokens)
        np.put_along_axis(by_rank, ranks(images.scores[IMPORTANCE]), images.tokens, axis=1)
        for n, counter in counters.items():
            counter.add(images.labels, by_rank[:, :n])
        everywhere.add(images.labels, images.tokens)
    tables = []
    for n, counter in counters.items():
        for columns in _kept(counter, everywhere, settings.tokens, cover):
            top_n = np.full(len(columns["label"]), n)
            tables.append(_table(columns | {"top_n": top_n}, SCHEMA))
    return pa.concat_tables(tables)


def count_frequent(output: Path, grids: Path, *, codes: int, tokens: int, cover: float = 0.0) -> None:
    """Find the frequency baseline: the most frequent tokens of a label's grids, importance ignored.

    Args:
        output: Parquet to write: label, list (count: the most frequent codes; contrast: the codes that are more
            frequent in an image than in other labels' images, by the difference), rank (from 0), token (code), count
            (occurrences), share (of the label's positions that hold the code).
        grids: packed grids of the train split.
        codes: codes in the codebook.
        tokens: tokens to keep for a label.
        cover: share of a label's positions, 0..1. Longer lists are kept until their tokens cover it.
    """
    packed = read_packed(grids)
    counter = TokenCounts(codes)
    for start in range(0, len(packed), 10_000):
        part = packed[start : start + 10_000]
        counter.add(part["label"], part["grid"].reshape(len(part), -1))
    parts = _kept(counter, counter, tokens, cover)
    write_table(output, pa.concat_tables(_table(columns, FREQUENCY_SCHEMA) for columns in parts))


def _kept(
    counter: TokenCounts, everywhere: TokenCounts, tokens: int, cover: float
) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Columns of both kinds of lists: the first tokens, and those that cover a share of their label's positions."""
    for name, columns in counter.lists():
        share = everywhere.shares(columns["label"], columns["token"])
        kept = (columns["rank"] < tokens) | covering(columns["label"], share, cover)
        shown = {column: values[kept] for column, values in columns.items()}
        yield {**shown, "list": np.full(kept.sum(), name), "share": share[kept]}


def _table(columns: dict[str, NDArray[np.generic]], schema: pa.Schema) -> pa.Table:
    return pa.table({name: columns[name] for name in schema.names}).cast(schema)


def _starts(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """For every row of labels in blocks, the first row of its block."""
    first = starts_of(labels)
    return np.repeat(first, np.diff(first, append=len(labels)))

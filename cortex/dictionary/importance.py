"""Importance of codes: the mean score of a code in images of a class, by one attribution and extractor."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.tokens import Tokens, iterate_tokens
from cortex.explain import IMPORTANCE
from cortex.explain.average import in_deviations
from cortex.explain.pair_sums import PairSums, starts_of


def mean_importance(output: Path, scores: list[Path], *, codes: int) -> None:
    """Average the importance of every code over its occurrences in images of a class, and over trainings.

    Scores count in units of their standard deviation over the image.

    Args:
        output: Parquet to write: label, token, importance.
        scores: importance files of the train split, those of all trainings of an extractor.
        codes: codes in the codebook.
    """
    sums = PairSums(2, np.float64)  # of scores, of occurrences
    for images in progress(iterate_tokens(scores, [IMPORTANCE], codes=codes), len(scores), "averaging", "file"):
        _add(sums, images, codes)
    labels, tokens = np.divmod(sums.pairs, codes)
    total, times = sums.sums
    columns = {"label": pa.array(labels, pa.int32()), "token": pa.array(tokens, pa.int32()), IMPORTANCE: total / times}
    write_table(output, pa.table(columns))


def _add(sums: PairSums, images: Tokens, codes: int) -> None:
    """Add the scores of some images, and how often each code occurs."""
    pairs = (images.labels[:, None] * codes + images.tokens).ravel()
    scores = in_deviations(images.scores[IMPORTANCE]).ravel()
    order = np.argsort(pairs, kind="stable")
    starts = starts_of(pairs[order])
    added = np.add.reduceat(scores[order], starts), np.diff(starts, append=len(pairs))
    sums.add(pairs[order][starts], np.stack(added))

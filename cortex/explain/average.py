"""Token importance averaged over the trainings of an extractor."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.data.tokens import read_tokens, write_tokens
from cortex.explain import IMPORTANCE


def average_importance(output: Path, scores: list[Path]) -> None:
    """Average the scores of an extractor's trainings, each in units of its standard deviation over the image.

    Args:
        output: token table to write: key, label, tokens, importance (h·w float32, row-major).
        scores: importance files of the trainings, of the same images.
    """
    first = read_tokens(scores[0], [IMPORTANCE])
    total = in_deviations(first.scores[IMPORTANCE])
    for path in scores[1:]:
        total += in_deviations(read_tokens(path, [IMPORTANCE], like=first).scores[IMPORTANCE])
    average = (total / len(scores)).astype(np.float32)
    write_tokens(output, replace(first, scores={IMPORTANCE: average}))


def in_deviations(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores ``[N, P]`` in units of their standard deviation over an image; 0 where an image's are all the same."""
    ranked = np.ptp(scores, axis=1, keepdims=True) > 0
    spread = scores.std(1, keepdims=True, dtype=np.float64)
    return np.divide(scores, spread, out=np.zeros(scores.shape), where=ranked)

"""Token tables of samples: what several test files share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.data.shard_reader import Sample
from cortex.data.tokens import Tokens, write_tokens


def write_samples(path: Path, samples: Sequence[Sample], **scores: NDArray[np.floating]) -> Path:
    """Write samples as a token table, with columns of scores ``[N, P]``; the path."""
    write_tokens(
        path,
        Tokens(
            [sample.key for sample in samples],
            np.array([sample.label for sample in samples]),
            np.stack([sample.grid.ravel() for sample in samples]),
            samples[0].grid.shape,
            scores,
        ),
    )
    return path

"""The images behind tokens: where a token is important, in a class or in all of them (METHOD.md, section 4)."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.data.tokens import Tokens
from cortex.explain import IMPORTANCE
from cortex.explain.ranks import ranks


def important_tokens(parts: Iterable[Tokens], top_n: int, label: int | None = None) -> pa.Table:
    """Tokens at the top-n positions of images that come part by part, each with the images behind it.

    The table has the columns token, count (occurrences at these positions), images (that hold the token there) and keys
    (of these images). The most counted tokens come first; ties go to the lower token.

    Args:
        parts: images with ``scores["importance"]``.
        top_n: positions of an image that count as important.
        label: of the images to look at; None: all.
    """
    keys: list[str] = []
    found: list[NDArray[np.int64]] = [np.empty((0, 2), np.int64)]  # pairs of a token and the number of its image
    for part in parts:
        images = part if label is None else part.take(np.flatnonzero(part.labels == label))
        rows, positions = np.nonzero(ranks(images.scores[IMPORTANCE]) < top_n)
        found.append(np.stack([images.tokens[rows, positions].astype(np.int64), rows + len(keys)], axis=1))
        keys += images.keys
    every = np.concatenate(found)
    pairs = np.unique(every, axis=0)  # a token may stand at several positions of an image
    tokens, of_images = np.unique(pairs[:, 0], return_counts=True)
    _, counts = np.unique(every[:, 0], return_counts=True)
    ends = np.cumsum([0, *of_images])
    behind = pa.ListArray.from_arrays(ends.astype(np.int32), pa.array(keys, pa.string()).take(pairs[:, 1]))
    table = pa.table({"token": tokens.astype(np.int32), "count": counts, "images": of_images, "keys": behind})
    return table.sort_by([("count", "descending"), ("token", "ascending")])

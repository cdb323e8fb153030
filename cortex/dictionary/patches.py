"""Patches of codes as they are drawn: their mean and spread over contexts, and a typical one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.decoded import decoded_of
from cortex.data.patches import patches_of
from cortex.data.pixels import encode_image
from cortex.data.tokens import iterate_tokens
from cortex.explain.pair_sums import starts_of

AT_ONCE = 100  # images cut at once
SCHEMA = pa.schema(
    [
        ("token", pa.int32()),
        ("contexts", pa.int64()),
        ("spread", pa.float32()),
        ("patch", pa.binary()),
        ("patch_mean", pa.binary()),
        ("patch_spread", pa.binary()),
    ]
)
Parts = Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True)
class Patches:
    """Patches of K codes in images, each of D = rows · columns · 3 numbers.

    Args:
        shape: (rows, columns, 3).
        contexts: positions that hold each code, int64 ``[K]``.
        mean: float64 ``[K, D]``.
        spread: standard deviation over contexts, float64 ``[K, D]``.
        typical: of every code the patch that is closest to the mean, uint8 ``[K, D]``.
    """

    shape: tuple[int, ...]
    contexts: NDArray[np.int64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    typical: NDArray[np.uint8]


def describe_patches(output: Path, tokens: list[Path], images: list[Path], *, codes: int) -> None:
    """Describe how every code is drawn: the patches at all positions of the test images that hold it.

    Args:
        output: Parquet to write, a row a code: token, contexts (positions that hold it), spread (standard deviation of
            its patches over contexts, in grey levels 0 to 255: root mean square over pixels and colours), and as PNG
            files patch (the patch closest to the mean), patch_mean and patch_spread (standard deviation of each pixel).
            A code without contexts has nulls.
        tokens: token tables of the test split.
        images: decoded images of each table.
        codes: codes in the codebook.
    """
    found = patches_by_code(tokens, images, codes)
    there = found.contexts > 0
    pictures: dict[str, NDArray[Any]] = {"patch": found.typical, "patch_mean": found.mean, "patch_spread": found.spread}
    columns: dict[str, Any] = {
        "token": np.arange(codes),
        "contexts": found.contexts,
        "spread": pa.array(np.sqrt((found.spread**2).mean(1)), mask=~there),
    }
    for name, values in pictures.items():
        rounded = np.rint(values).astype(np.uint8).reshape(codes, *found.shape)
        columns[name] = [
            encode_image(each).content if seen else None for each, seen in zip(rounded, there, strict=True)
        ]
    write_table(output, pa.table(columns).cast(SCHEMA))


def patches_by_code(tokens: Sequence[Path], images: Sequence[Path], codes: int) -> Patches:
    """The patches of all codes; images are read twice, some at a time."""
    shape = next(_cut(tokens, images, codes))[1].shape[1:]
    size = int(np.prod(shape))
    contexts, total, squares = np.zeros(codes, np.int64), np.zeros((codes, size), np.int64), np.zeros((codes, size))
    for places, patches in _cut(tokens, images, codes):
        flat = patches.reshape(len(patches), size).astype(np.int64)
        of_code = sparse.csr_matrix(
            (np.ones(len(places), np.int64), (places, np.arange(len(places)))), (codes, len(places))
        )
        contexts += np.bincount(places, minlength=codes)
        total += of_code @ flat
        squares += of_code @ flat**2
    times = np.maximum(contexts, 1)[:, None]
    mean = total / times
    spread = np.sqrt(np.maximum(squares / times - mean**2, 0))
    return Patches(shape, contexts, mean, spread, _typical(_cut(tokens, images, codes), mean))


def _typical(parts: Parts, mean: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Of every code, the patch closest to the mean; the first of equals."""
    closest, typical = np.full(len(mean), np.inf), np.zeros(mean.shape, np.uint8)
    for places, patches in parts:
        flat = patches.reshape(len(patches), -1)
        distances = ((flat - mean[places]) ** 2).sum(1)
        order = np.lexsort((distances, places))
        first = order[starts_of(places[order])]
        first = first[distances[first] < closest[places[first]]]
        closest[places[first]], typical[places[first]] = distances[first], flat[first]
    return typical


def _cut(tokens: Sequence[Path], images: Sequence[Path], codes: int) -> Parts:
    """Codes ``[n]`` and patches uint8 ``[n, rows, columns, 3]`` at all positions of some images after the other."""
    shards = zip(iterate_tokens(tokens, codes=codes), images, strict=True)
    for labelled, path in progress(shards, len(tokens), "cutting patches", "shard"):
        pictures = decoded_of(labelled, path)
        for start in range(0, len(labelled), AT_ONCE):
            rows = slice(start, start + AT_ONCE)
            patches = patches_of(pictures[rows], labelled.shape)
            yield labelled.tokens[rows].ravel().astype(np.int64), patches.reshape(-1, *patches.shape[2:])

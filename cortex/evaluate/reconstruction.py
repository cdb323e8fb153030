"""How well a codebook holds pictures that nobody drew: their reconstructions beside them (METHOD.md, section 2)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device, one_thread
from cortex.core.tables import write_table
from cortex.data.decoded import decoded_of
from cortex.data.tokens import Tokens, read_tokens
from cortex.evaluate.intervals import mean_intervals
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator
from cortex.generators.load import load_generator

DECODED = 25  # grids at once
MEASURES = ("l1", "plain_l1")
SCHEMA = pa.schema(
    [("label", pa.int32()), ("samples", pa.int32())]
    + [(f"{name}{end}", pa.float64()) for name in MEASURES for end in ("", "_low", "_high")]
    + [("codes", pa.int32()), ("perplexity", pa.float64()), ("fits", pa.bool_())]
)


def measure_reconstruction(
    output: Path,
    tokens: list[Path],
    images: list[Path],
    *,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    resamples: int = 2000,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure how far pictures are from their decoded tokens, and how many codes they use.

    Args:
        output: Parquet to write, a row for all classes (label null) and for each: samples, l1 (mean absolute error of
            the reconstruction, in units of -1..1), plain_l1 (that of the picture's mean colour alone), both with 95 %
            intervals, codes (that occur), perplexity (of the codes), fits (whether l1 is below plain_l1).
        tokens: token tables of the pictures.
        images: decoded images (.npy), a file for each of the token tables, in the same order.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator; the family's own if not given.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
        device: auto, cpu, cuda or cuda:N.
    """
    model = load_generator(generator, choose_device(device), family=family, decode_only=True)
    tables = [read_tokens(path, codes=len(model.codebook)) for path in tokens]
    with one_thread():
        parts = [errors(model, table, decoded_of(table, path)) for table, path in zip(tables, images, strict=True)]
    values = np.concatenate(parts, axis=1)
    labels = np.concatenate([table.labels for table in tables])
    grids = np.concatenate([table.tokens for table in tables])
    rows = [_row(None, values, grids, resamples, seed)]
    for label in np.unique(labels).tolist():
        rows.append(_row(label, values[:, labels == label], grids[labels == label], resamples, seed))
    write_table(output, pa.Table.from_pylist(rows, SCHEMA))


def errors(model: Generator, images: Tokens, pictures: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute errors ``[2, N]``, in units of -1..1, of reconstructions and of the mean colours of pictures."""
    found = np.empty((2, len(images)))
    for rows, decoded in reconstructions(model, images):
        found[:, rows] = errors_of(pictures[rows], decoded)
    return found


def errors_of(pictures: NDArray[np.uint8], decoded: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute errors ``[2, B]``, in units of -1..1, of decoded pictures and of the mean colours of pictures."""
    shown = pictures.astype(np.float64)
    plain = shown.mean((1, 2), keepdims=True)
    return np.stack([np.abs(other - shown).mean((1, 2, 3)) / 127.5 for other in (decoded, plain)])


def fits(error: float, plain: float) -> bool:
    """Whether decoded tokens are nearer to pictures than one plain colour is; an exact reconstruction always fits."""
    return error == 0 or error < plain


def reconstructions(model: Generator, images: Tokens) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Rows of images and their decoded tokens uint8 ``[B, H, W, 3]``, some at a time."""
    grids = torch.from_numpy(images.grids)
    for start in range(0, len(images), DECODED):
        rows = slice(start, start + DECODED)
        yield rows, model.decode(grids[rows]).cpu().numpy()


def _row(
    label: int | None, values: NDArray[np.float64], grids: NDArray[np.integer], resamples: int, seed: int
) -> dict[str, Any]:
    """The row of some pictures: errors ``[2, N]``, tokens ``[N, P]``."""
    mean, (low, high) = values.mean(1), mean_intervals(values, resamples, seed)
    shares = np.bincount(grids.ravel()) / grids.size
    used = shares[shares > 0]
    row: dict[str, Any] = {"label": label, "samples": values.shape[1]}
    for which, name in enumerate(MEASURES):
        row |= {name: mean[which], f"{name}_low": low[which], f"{name}_high": high[which]}
    perplexity = float(np.exp(-(used * np.log(used)).sum()))
    return row | {"codes": len(used), "perplexity": perplexity, "fits": fits(*mean.tolist())}

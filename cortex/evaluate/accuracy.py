"""How well extractors read the concept off the tokens, and judges off the images (METHOD.md, sections 3 and 6)."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.decoded import decoded_of
from cortex.data.shard_reader import read_shard
from cortex.extractors.codebook import look_up
from cortex.extractors.network import check_reads, load_with_codebook
from cortex.judges.judge import load_judge

SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("key", pa.string()),
        ("label", pa.int32()),
        ("predicted", pa.int32()),
        ("rank", pa.int32()),
    ]
)


def label_ranks(logits: Tensor, labels: Tensor) -> Tensor:
    """How many other classes have a logit that is not below the label's, int64 ``[B]``: 0 where the label is top-1.

    A tie is no recognition: a network that gives all classes the same logit has no class at the top.
    """
    return (logits >= logits.gather(1, labels[:, None])).sum(1) - 1


def rank_by_extractor(
    output: Path, shards: list[Path], extractor: Path, codebook: Path, *, batch: int = 100, device: str = "auto"
) -> None:
    """Rank the label of every image of a split among an extractor's logits.

    Args:
        output: Parquet to write: split, key, label, predicted, rank (0: the label is top-1).
        shards: tars of one split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        batch: images at once.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)

    @torch.inference_mode()
    def logits_of(grids: Tensor, _: Tensor) -> Tensor:
        return network(look_up(code_vectors, grids.to(on)))

    _rank_shards(output, shards, logits_of, images=None, batch=batch, check=partial(check_reads, extractor))


def rank_by_judge(
    output: Path, shards: list[Path], images: list[Path], judge: Path, *, batch: int = 100, device: str = "auto"
) -> None:
    """Rank the label of every image of a split among a judge's logits: does it read what the generator was asked for?

    Args:
        output: Parquet to write: split, key, label, predicted, rank (0: the label is top-1).
        shards: tars of one split.
        images: their decoded images.
        judge: weights of a judge.
        batch: images at once.
        device: auto, cpu, cuda or cuda:N.
    """
    panelist = load_judge(judge, choose_device(device))
    _rank_shards(output, shards, lambda _, shown: panelist.logits(shown), images=images, batch=batch)


def _rank_shards(
    output: Path,
    shards: list[Path],
    logits_of: Callable[[Tensor, Tensor], Tensor],
    *,
    images: list[Path] | None,
    batch: int,
    check: Callable[[tuple[int, ...], int], None] = lambda grid, label: None,
) -> None:
    """Write the ranks by ``logits_of(grids int64 [B, h, w], images uint8 [B, H, W, 3] or empty)``."""
    tables = []
    decoded = [None] * len(shards) if images is None else images
    for shard, path in progress(zip(shards, decoded, strict=True), len(shards), "ranking labels", "shard"):
        samples = list(read_shard(shard))
        check(samples[0].grid.shape, max(sample.label for sample in samples))
        labels = torch.tensor([sample.label for sample in samples])
        grids = torch.from_numpy(np.stack([sample.grid for sample in samples]).astype(np.int64))
        shown = (
            torch.empty(len(samples), 0) if path is None else torch.from_numpy(decoded_of(shard, len(samples), path))
        )
        parts = zip(grids.split(batch), shown.split(batch), strict=True)
        logits = torch.cat([logits_of(*part).cpu() for part in parts])
        if not logits.isfinite().all():
            place = int((~logits.isfinite()).any(1).nonzero()[0])
            raise InputError(f"{shard}: {samples[place].key}: the network's logits are not finite: are its weights?")
        table = pa.table(
            {
                "split": [shard.parent.name] * len(samples),
                "key": [sample.key for sample in samples],
                "label": labels.numpy(),
                "predicted": logits.argmax(1).numpy(),
                "rank": label_ranks(logits, labels).numpy(),
            }
        )
        tables.append(table.cast(SCHEMA))
    write_table(output, pa.concat_tables(tables))

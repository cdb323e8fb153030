"""Accuracy: do extractors recognise the concept in the tokens, and judges in the images? (METHOD.md, 3 and 6)."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.decoded import decoded_of
from cortex.data.tokens import Tokens, iterate_tokens
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
    """Number of other classes with a logit not below the label's, int64 ``[B]``: 0 where the label is top-1.

    A tie counts against the label: a network that gives all classes the same logit recognises none.
    """
    return (logits >= logits.gather(1, labels[:, None])).sum(1) - 1


def rank_by_extractor(
    output: Path,
    tokens: list[Path],
    extractor: Path,
    codebook: Path,
    *,
    split: str,
    batch: int,
    device: str = "auto",
) -> None:
    """Rank the label of every image of a split among an extractor's logits.

    Args:
        output: Parquet to write: split, key, label, predicted (class of the highest logit), rank (of the label, from
            0: top-1).
        tokens: token tables of the split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        split: name of the split.
        batch: images that the network sees at once.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)

    @torch.inference_mode()
    def logits_of(grids: Tensor) -> Tensor:
        return network(look_up(code_vectors, grids.to(on)))

    tables = []
    for images in progress(iterate_tokens(tokens, codes=len(code_vectors)), len(tokens), "ranking labels", "shard"):
        check_reads(extractor, images.shape, int(images.labels.max()))
        tables.append(_ranked(split, images, torch.from_numpy(images.grids), logits_of, batch))
    write_table(output, pa.concat_tables(tables))


def rank_by_judge(
    output: Path,
    tokens: list[Path],
    images: list[Path],
    judge: Path,
    *,
    split: str,
    batch: int,
    device: str = "auto",
) -> None:
    """Rank the label of every image of a split, the class that was generated, among a judge's logits.

    Args:
        output: Parquet to write: split, key, label, predicted (class of the highest logit), rank (of the label, from
            0: top-1).
        tokens: token tables of the split.
        images: decoded images, a file for each of the token tables, in the same order.
        judge: weights of a judge.
        split: name of the split.
        batch: images that the network sees at once.
        device: auto, cpu, cuda or cuda:N.
    """
    if len(tokens) != len(images):
        raise InputError(f"{len(tokens)} token tables, {len(images)} files of images: one for each is needed")
    panelist = load_judge(judge, choose_device(device))
    tables = []
    shards = zip(iterate_tokens(tokens), images, strict=True)
    for labelled, path in progress(shards, len(tokens), "ranking labels", "shard"):
        pictures = torch.from_numpy(decoded_of(labelled, path))
        tables.append(_ranked(split, labelled, pictures, panelist.logits, batch))
    write_table(output, pa.concat_tables(tables))


def _ranked(split: str, images: Tokens, shown: Tensor, logits_of: Callable[[Tensor], Tensor], batch: int) -> pa.Table:
    """Rows of :data:`SCHEMA`.

    Args:
        split: name of the split.
        images: keys and labels.
        shown: grids or pictures of the images, ``[N, ...]``.
        logits_of: logits ``[B, classes]`` of some of them.
        batch: images that the network sees at once.
    """
    logits = torch.cat([logits_of(part).cpu() for part in shown.split(batch)])
    if not logits.isfinite().all():
        place = int((~logits.isfinite()).any(1).nonzero()[0])
        raise InputError(f"{images.path}: {images.keys[place]}: the network's logits are not finite: are its weights?")
    table = pa.table(
        {
            "split": [split] * len(images),
            "key": images.keys,
            "label": images.labels,
            "predicted": logits.argmax(1).numpy(),
            "rank": label_ranks(logits, torch.from_numpy(images.labels)).numpy(),
        }
    )
    return table.cast(SCHEMA)

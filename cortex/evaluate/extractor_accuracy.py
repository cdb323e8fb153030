"""How well an extractor reads the concept off the tokens (METHOD.md, section 3)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from cortex.device import choose_device
from cortex.extractors.codebook import load_codebook, look_up
from cortex.extractors.network import load_extractor
from cortex.shards.read import read_shard
from cortex.tables import write_table

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
    """How many classes have a logit above the label's, int64 ``[B]``: 0 where the label is top-1."""
    return (logits > logits.gather(1, labels[:, None])).sum(1)


def rank_labels(
    output: Path, shards: list[Path], extractor: Path, codebook: Path, *, batch: int = 100, device: str = "auto"
) -> None:
    """Rank the label of every image of a split among the extractor's logits.

    Args:
        output: Parquet to write: split, key, label, predicted, rank (0: the label is top-1).
        shards: tars of one split.
        extractor: weights of a trained extractor.
        codebook: the generator's codebook.
        batch: images at once.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    network, code_vectors = load_extractor(extractor, on), load_codebook(codebook, on)
    tables = []
    for shard in shards:
        samples = list(read_shard(shard, codes=len(code_vectors)))
        labels = torch.tensor([sample.label for sample in samples], device=on)
        grids = torch.from_numpy(np.stack([sample.grid for sample in samples]).astype(np.int64)).to(on)
        with torch.inference_mode():
            logits = torch.cat([network(look_up(code_vectors, part)) for part in grids.split(batch)])
        tables.append(
            pa.table(
                {
                    "split": [shard.parent.name] * len(samples),
                    "key": [sample.key for sample in samples],
                    "label": labels.cpu().numpy(),
                    "predicted": logits.argmax(1).cpu().numpy(),
                    "rank": label_ranks(logits, labels).cpu().numpy(),
                }
            ).cast(SCHEMA)
        )
    write_table(output, pa.concat_tables(tables))

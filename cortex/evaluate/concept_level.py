"""Concept level: mask a label's concept-level tokens, against its most frequent ones (METHOD.md, section 6)."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.decoded import decoded_of
from cortex.data.shard_reader import read_shard
from cortex.evaluate.masking import MEASURES, concept_mask, judge_masks
from cortex.judges.judge import load_judge

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("method", pa.string()),
        ("top_n", pa.int32()),
        ("tokens", pa.int32()),
    ]
    + [(name, pa.float32()) for name in MEASURES]
)


def judge_concepts(
    output: Path,
    shard: Path,
    images: Path,
    tokens: Path,
    frequency: Path,
    judge: Path,
    *,
    codes: int,
    top_n: list[int],
    keep: int = 100,
    batch: int = 100,
    device: str = "auto",
) -> None:
    """Ask a judge how much less of an image's class is left when its class's concept-level tokens are painted black.

    Args:
        output: Parquet to write, a row an image, method (importance, frequency) and top_n (importance only): key,
            label, method, top_n, tokens, masked_fraction and masked_brightness (0..1), probability and logit of the
            label in the masked image, and their changes against the unmasked one.
        shard: WebDataset tar of the test split.
        images: its decoded images.
        tokens: concept-level tokens of an extractor.
        frequency: the most frequent tokens.
        judge: weights of a judge.
        codes: codes in the codebook.
        top_n: which of the concept-level token lists to mask; one result for each.
        keep: how many tokens of a list.
        batch: images that the judge sees at once.
        device: auto, cpu, cuda or cuda:N.
    """
    samples = list(read_shard(shard, codes=codes))
    labels = np.array([sample.label for sample in samples])
    grids = np.stack([sample.grid.ravel() for sample in samples])
    important, frequent = read_table(tokens), read_table(frequency)
    missing = sorted(set(top_n) - set(important["top_n"].to_pylist()))
    if missing:
        raise InputError(f"{tokens}: no tokens for top_n = {missing}")
    lists: list[tuple[str, int | None, pa.Table]] = [
        ("importance", n, important.filter(np.asarray(important["top_n"]) == n)) for n in top_n
    ]
    lists.append(("frequency", None, frequent))
    masks = []
    for _, _, table in lists:
        kept = table.filter(np.asarray(table["rank"]) < keep)
        belongs = np.zeros((max(labels.max(), np.max(kept["label"])) + 1, codes), bool)
        belongs[kept["label"], kept["token"]] = True
        masks.append(concept_mask(grids, belongs[labels]))
    grid_shape = samples[0].grid.shape
    verdict = judge_masks(
        load_judge(judge, choose_device(device)),
        decoded_of(shard, len(samples), images),
        labels,
        np.stack(masks),
        (grid_shape[0], grid_shape[1]),
        batch,
    )
    count = len(samples)
    table = pa.table(
        {
            "key": [sample.key for sample in samples] * len(lists),
            "label": np.tile(labels, len(lists)),
            "method": np.repeat([method for method, _, _ in lists], count),
            "top_n": pa.array([n for _, n, _ in lists for _ in range(count)], pa.int32()),
            "tokens": np.full(len(lists) * count, keep),
            **{measure: getattr(verdict, measure).ravel() for measure in MEASURES},
        }
    )
    write_table(output, table.cast(SCHEMA))

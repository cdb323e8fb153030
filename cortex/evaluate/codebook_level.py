"""Codebook level: does the image read as the target once its region holds the tokens found? (METHOD.md, section 6)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.shard_reader import read_shard
from cortex.generators.taming.generator import Generator, load_generator
from cortex.judges.judge import Judge, load_judge

MEASURES = tuple(
    f"{which}_{what}_{when}"
    for which in ("source", "target")
    for what in ("probability", "logit")
    for when in ("before", "after")
)
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("method", pa.string()),
        ("source", pa.int32()),
        ("target", pa.int32()),
        ("step", pa.int32()),
    ]
    + [(name, pa.float32()) for name in MEASURES]
)


def edited_grids(
    grids: NDArray[np.integer], positions: NDArray[np.integer], tokens: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Grids ``[N, h, w]`` with the tokens ``[N, p]`` at the positions ``[N, p]`` of the flattened grid."""
    edited = grids.astype(np.int64).reshape(len(grids), -1)
    np.put_along_axis(edited, positions, tokens, axis=1)
    return edited.reshape(grids.shape)


def judge_search(
    output: Path,
    search: Path,
    shards: list[Path],
    judge: Path,
    *,
    generator: Path | None = None,
    batch: int = 100,
    device: str = "auto",
) -> None:
    """Decode what the codebook search found and ask a judge for the source and the target class, before and after.

    Of an image's recorded steps, the judge's own best is kept: that of the highest target probability.

    Args:
        output: Parquet to write, a row an image and method: key, method, source, target, step, and probability
            and logit of the source and the target class before and after.
        search: result of the codebook search.
        shards: tars of the test split.
        judge: weights of a judge.
        generator: weights file of the generator; the embedded digits generator if not given.
        batch: images decoded and judged at once.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    model, panelist = load_generator(generator, on, decode_only=True), load_judge(judge, on)
    found = read_table(search)
    keys = found["key"].to_pylist()
    wanted = set(keys)
    grid_of = {
        sample.key: sample.grid
        for shard in shards
        for sample in read_shard(shard, codes=len(model.codebook))
        if sample.key in wanted
    }
    if len(grid_of) < len(wanted):
        raise InputError(f"{search}: image {min(wanted - grid_of.keys())!r} is not in {shards[0].parent}")
    grids = np.stack([grid_of[key] for key in keys])
    edited = edited_grids(
        grids, np.array(found["positions"].to_pylist()), np.array(found["tokens"].to_pylist(), np.int64)
    )
    images, place = np.unique(keys, return_inverse=True)
    before = _judge_grids(model, panelist, np.stack([grid_of[key] for key in images]).astype(np.int64), batch)[place]
    after = _judge_grids(model, panelist, edited, batch)

    columns: dict[str, NDArray[np.floating]] = {}
    rows = np.arange(len(keys))
    for which in ("source", "target"):
        label = np.array(found[which])
        for when, logits in (("before", before), ("after", after)):
            columns[f"{which}_logit_{when}"] = logits[rows, label].numpy()
            columns[f"{which}_probability_{when}"] = logits.softmax(1)[rows, label].numpy()
    table = pa.table(
        {name: found[name] for name in ("key", "method", "source", "target", "step")}
        | {name: columns[name] for name in MEASURES}
    ).cast(SCHEMA)
    best = best_steps(table["key"].to_pylist(), table["method"].to_pylist(), columns["target_probability_after"])
    write_table(output, table.take(best))


def best_steps(keys: list[str], methods: list[str], target_probability: NDArray[np.floating]) -> list[int]:
    """Row of the highest target probability of every (key, method), the first of equals, in order of appearance."""
    best: dict[tuple[str, str], int] = {}
    for row, name in enumerate(zip(keys, methods, strict=True)):
        if name not in best or target_probability[row] > target_probability[best[name]]:
            best[name] = row
    return list(best.values())


def _judge_grids(model: Generator, judge: Judge, grids: NDArray[np.int64], batch: int) -> torch.Tensor:
    """A judge's logits float32 ``[N, classes]`` of the decoded grids ``[N, h, w]``."""
    parts = torch.from_numpy(grids).split(batch)
    return torch.cat([judge.logits(model.decode(part)).cpu() for part in parts])

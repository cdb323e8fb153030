"""Codebook level: does the image read as the target once its region holds the tokens found? (METHOD.md, section 6)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.tables import read_table, write_table
from cortex.data.tokens import read_tokens
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.base import Generator
from cortex.generators.load import load_generator
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
    tokens: list[Path],
    judge: Path,
    *,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    batch: int,
    device: str = "auto",
) -> None:
    """Decode the images with the tokens found, and measure a judge's response to source and target class.

    Of an image's recorded steps, the one of the judge's highest target probability is kept.

    Args:
        output: Parquet to write, a row an image and method: key, method, source (class of the image), target, step
            (recorded step that is kept), and source_probability_before, …: probability and logit of both classes
            before and after.
        search: result of the codebook search.
        tokens: token tables of the test split.
        judge: weights of a judge.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
        batch: images decoded and judged at once.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    model, panelist = load_generator(generator, on, family=family, decode_only=True), load_judge(judge, on)
    found = read_table(search, ["key", "method", "source", "target", "step", "positions", "tokens"])
    images = read_tokens(tokens, codes=len(model.codebook))
    keys, place = np.unique(found["key"].to_pylist(), return_inverse=True)
    grids = images.grids[images.rows_of(keys.tolist())]
    positions, new = (np.array(found[name].to_pylist(), np.int64) for name in ("positions", "tokens"))
    before = judge_grids(model, panelist, grids, batch)[place]
    after = judge_grids(model, panelist, edited_grids(grids[place], positions, new), batch)

    columns: dict[str, NDArray[np.floating]] = {}
    rows = torch.arange(len(found))
    for which in ("source", "target"):
        label = torch.tensor(found[which].to_pylist())
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


def judge_grids(model: Generator, judge: Judge, grids: NDArray[np.int64], batch: int) -> torch.Tensor:
    """A judge's logits float32 ``[N, classes]`` of the decoded grids ``[N, h, w]``."""
    parts = torch.from_numpy(grids).split(batch)
    return torch.cat([judge.logits(model.decode(part)).cpu() for part in parts])

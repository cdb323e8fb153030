"""Images after the codebook search, decoded for the atlas."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from cortex.atlas.sample import Sample
from cortex.core.device import choose_device
from cortex.core.tables import read_table
from cortex.evaluate.codebook_level import edited_grids
from cortex.generators.load import load_generator

BATCH = 32  # grids decoded at once


@dataclass(frozen=True)
class Searched:
    """An image of the sample after a codebook search.

    Args:
        row: of the sample.
        said: extractor, method, step, source, target, positions (of the region), tokens (of the whole grid), logits
            before and after (the extractor's, of the target), and the judge's probability of the target.
        pixels: uint8 ``[H, W, 3]``.
    """

    row: int
    said: dict[str, Any]
    pixels: NDArray[np.uint8]


def decode_searches(
    run: Path,
    sample: Sample,
    extractors: tuple[str, ...],
    judge: str | None,
    *,
    family: str,
    generator: Path | None,
    device: str,
) -> list[Searched]:
    """Decode the sample's images after the searches of some extractors.

    Of the recorded steps, the one of the judge's highest target probability is taken; without a judge, the last.

    Args:
        run: its folder.
        sample: images of the atlas.
        extractors: trained extractors, such as cnn/0.
        judge: the judge whose steps and probabilities are shown.
        family: generator family.
        generator: weights file of the generator; the family's own if not given.
        device: auto, cpu, cuda or cuda:N.
    """
    keys = pa.array(sample.images.keys)
    place = {key: row for row, key in enumerate(sample.images.keys)}
    chosen: list[tuple[int, dict[str, Any]]] = []
    for extractor in extractors:
        table = read_table(run / "codebook" / f"{extractor}.parquet")
        steps = table.filter(pc.is_in(table["key"], keys)).to_pylist()
        judged = _judged(run, extractor, judge) if judge else {}
        of_image = {(row["key"], row["method"]): row for row in steps}  # the last step of each
        of_step = {(row["key"], row["method"], row["step"]): row for row in steps}
        for (key, method), row in of_image.items():
            verdict = judged.get((key, method))
            found = of_step[key, method, verdict["step"]] if verdict else row
            said = {"extractor": extractor, "judge": judge if verdict else None, **found}
            for when in ("before", "after"):
                said[f"probability_{when}"] = verdict[f"target_probability_{when}"] if verdict else None
            chosen.append((place[key], said))
    if not chosen:
        return []
    model = load_generator(generator, choose_device(device), family=family, decode_only=True)
    rows = [row for row, _ in chosen]
    new = (np.array([said[name] for _, said in chosen], np.int64) for name in ("positions", "tokens"))
    grids = edited_grids(sample.images.grids[rows], *new)
    decoded = [model.decode(part).cpu().numpy() for part in torch.from_numpy(grids).split(BATCH)]
    return [
        Searched(row, {**said, "tokens": grid.ravel().tolist()}, pixels)
        for (row, said), grid, pixels in zip(chosen, grids, np.concatenate(decoded), strict=True)
    ]


def _judged(run: Path, extractor: str, judge: str) -> dict[tuple[str, str], dict[str, Any]]:
    rows = read_table(run / "evaluation" / "codebook_level" / extractor / f"{judge}.parquet").to_pylist()
    return {(row["key"], row["method"]): row for row in rows}

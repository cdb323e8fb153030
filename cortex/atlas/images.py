"""Images in the atlas: pixels, tokens, importance, judged masks and codebook searches, a part for every class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cortex.atlas.parts import plain, write_part
from cortex.atlas.sample import SHOWN, Sample, judged_masks, readings
from cortex.atlas.searches import Searched
from cortex.atlas.sheets import write_sheet
from cortex.data.pixels import ImageFormat

COLUMNS = 8  # pictures of a row of a sheet


def write_image_parts(
    folder: Path,
    run: Path,
    sample: Sample,
    searched: Sequence[Searched],
    explained: dict[str, str],
    judges: tuple[str, ...],
    kind: ImageFormat,
) -> None:
    """Write the sheet and the part of every class's images, ``images/LABEL``.

    Args:
        folder: of the atlas.
        run: its folder.
        sample: the images.
        searched: images after codebook searches.
        explained: by ATTRIBUTION/EXTRACTOR, the folder of its scores.
        judges: names of the judges.
        kind: format of the pictures.
    """
    masks = {
        (name, judge): judged_masks(run, sample, of_scores, judge)
        for name, of_scores in explained.items()
        for judge in judges
    }
    read = {judge: readings(run, sample.images.keys, judge) for judge in judges}
    for label in np.unique(sample.images.labels).tolist():
        rows = sample.rows_of_label(label)
        after = [each for each in searched if each.row in rows]
        part: dict[str, Any] = {
            "first": int(rows[0]),
            "sheet": write_sheet(folder, f"sheets/images/{label}", list(sample.pixels[rows]), COLUMNS, kind),
            "columns": min(COLUMNS, len(rows)),
            "rows": -(-len(rows) // COLUMNS),
            "tokens": sample.images.tokens[rows].tolist(),
            "scores": {name: plain(scores[rows].astype(np.float32)) for name, scores in sample.scores.items()},
            "read": {judge: [predicted[row] for row in rows] for judge, predicted in read.items()},
            "masks": [
                {"explained": name, "judge": judge, "n": found["n"].astype(int).tolist()}
                | {which: plain(found[which][rows]) for which in ("before", *SHOWN)}
                for (name, judge), found in masks.items()
                if found is not None
            ],
            "searches": [{**each.said, "image": each.row} for each in after],
        }
        if after:
            path = write_sheet(folder, f"sheets/searched/{label}", [each.pixels for each in after], COLUMNS, kind)
            part["searched"] = {"sheet": path, "columns": min(COLUMNS, len(after)), "rows": -(-len(after) // COLUMNS)}
        write_part(folder, f"images/{label}", part)

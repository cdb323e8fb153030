"""The sample of test images that the atlas holds: the first ones of every class."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.tables import read_table
from cortex.data.decoded import decoded_rows
from cortex.data.tokens import Tokens, read_tokens
from cortex.explain import IMPORTANCE
from cortex.explain.average import in_deviations
from cortex.explain.pair_sums import starts_of

SHOWN = ("importance", "random_area")  # masks of the image level


@dataclass(frozen=True, eq=False)
class Sample:
    """S images, ordered by label.

    Args:
        images: keys, labels and tokens.
        pixels: uint8 ``[S, H, W, 3]``.
        scores: importance by ATTRIBUTION/EXTRACTOR, in standard deviations over an image, float64 ``[S, P]``.
        shards: names of the shards that hold them.
    """

    images: Tokens
    pixels: NDArray[np.uint8]
    scores: dict[str, NDArray[np.float64]]
    shards: list[str]

    def rows_of_label(self, label: int) -> NDArray[np.int64]:
        """The images of a class."""
        return np.flatnonzero(self.images.labels == label)


def read_sample(run: Path, explained: dict[str, str], per_class: int, codes: int) -> Sample:
    """Read the sample from a run's folder.

    Args:
        run: the folder.
        explained: by ATTRIBUTION/EXTRACTOR, the folder of its scores below importance/, such as tis/cnn/average.
        per_class: images of a class at most.
        codes: in the codebook.
    """
    tables = sorted((run / "data" / "test").glob("*.parquet"))
    names = [path.stem for path in tables]
    split = read_tokens(tables, codes=codes)
    rows = first_rows(split.labels, per_class)
    sizes = np.cumsum([len(read_table(path, ["key"])) for path in tables])
    pixels = decoded_rows(split, [run / "data" / "test" / "images" / f"{name}.npy" for name in names], rows)
    scores = {}
    for name, folder in explained.items():
        paths = [run / "importance" / folder / "test" / f"{shard}.parquet" for shard in names]
        scores[name] = in_deviations(read_tokens(paths, [IMPORTANCE], like=split).scores[IMPORTANCE][rows])
    shards = [names[place] for place in np.unique(np.searchsorted(sizes, rows, side="right"))]
    return Sample(split.take(rows), pixels, scores, shards)


def first_rows(labels: NDArray[np.integer], per_class: int) -> NDArray[np.int64]:
    """Rows of the first so many images of every label, by label."""
    order = np.argsort(labels, kind="stable")
    starts = starts_of(labels[order])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order[place < per_class]


def judged_masks(run: Path, sample: Sample, folder: str, judge: str) -> dict[str, NDArray[np.float64]] | None:
    """What masks of the sample's images do to a judge's probability of the label.

    Args:
        run: folder of the run.
        sample: the images.
        folder: of the scores below evaluation/image_level/.
        judge: its name.

    Returns:
        n (positions whose codes are masked) ``[M]``; before ``[S]``, importance and random_area ``[S, M]``: the
        probabilities. None where nothing was judged.
    """
    paths = [run / "evaluation" / "image_level" / folder / judge / f"{shard}.parquet" for shard in sample.shards]
    if not all(path.exists() for path in paths):
        return None
    keys = pa.array(sample.images.keys)
    columns = ["key", "method", "n", "probability", "probability_change"]
    tables = (read_table(path, columns) for path in paths)
    rows = pa.concat_tables([table.filter(pc.is_in(table["key"], keys)) for table in tables])
    place = pc.index_in(rows["key"], keys).to_numpy()
    n, column = np.unique(rows["n"].to_numpy(), return_inverse=True)
    probability, change = (rows[name].to_numpy().astype(np.float64) for name in columns[3:])
    found = {"n": n.astype(np.float64), "before": np.full(len(keys), np.nan)}
    found["before"][place] = probability - change
    for method in SHOWN:
        of_method = pc.equal(rows["method"], method).to_numpy()
        found[method] = np.full((len(keys), len(n)), np.nan)
        found[method][place[of_method], column[of_method]] = probability[of_method]
    return found


def readings(run: Path, keys: Sequence[str], judge: str) -> list[int | None]:
    """The class that a judge reads of each image; None where that is not on record."""
    path = run / "evaluation" / "judge_accuracy" / f"{judge}.parquet"
    if not path.exists():
        return [None] * len(keys)
    table = read_table(path, ["key", "predicted"])
    return table["predicted"].take(pc.index_in(pa.array(keys), table["key"].combine_chunks())).to_pylist()

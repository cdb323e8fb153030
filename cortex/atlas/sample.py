"""The sample of test images that the atlas holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.tables import read_table
from cortex.data.decoded import decoded_rows
from cortex.data.manifest import shards_of
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

    def stated(self, origin: str) -> dict[str, Any]:
        """What the page states of the images; ``origin`` says in words which ones they are."""
        keys, labels, size = self.images.keys, self.images.labels.tolist(), self.pixels.shape[1:3]
        return {"origin": origin, "keys": keys, "labels": labels, "size": size}


@dataclass(frozen=True, eq=False)
class Split:
    """The test images of a run.

    Args:
        run: its folder.
        shards: names of their shards.
        images: keys, labels and tokens of all.
    """

    run: Path
    shards: list[str]
    images: Tokens

    def scores(self, explained: dict[str, str], rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Importance at the positions of some images by ATTRIBUTION/EXTRACTOR, in standard deviations.

        Args:
            explained: by ATTRIBUTION/EXTRACTOR, the folder of its scores below importance/, such as tis/cnn/average.
            rows: of the images.
        """
        found = {}
        for name, folder in explained.items():
            paths = [self.run / "importance" / folder / "test" / f"{shard}.parquet" for shard in self.shards]
            found[name] = in_deviations(read_tokens(paths, [IMPORTANCE], like=self.images).scores[IMPORTANCE][rows])
        return found

    def sample(self, rows: NDArray[np.int64], scores: dict[str, NDArray[np.float64]]) -> Sample:
        """Some images, with their scores; ``rows`` ordered by label."""
        data = self.run / "data" / "test"
        sizes = np.cumsum([len(read_table(data / f"{shard}.parquet", ["key"])) for shard in self.shards])
        pixels = decoded_rows(self.images, [data / "images" / f"{shard}.npy" for shard in self.shards], rows)
        held = [self.shards[place] for place in np.unique(np.searchsorted(sizes, rows, side="right"))]
        return Sample(self.images.take(rows), pixels, scores, held)


def read_test_split(run: Path, codes: int) -> Split:
    """The test images of a run's folder, with a codebook of so many codes."""
    shards = shards_of(run, "test")
    tables = [run / "data" / "test" / f"{shard}.parquet" for shard in shards]
    return Split(run, shards, read_tokens(tables, codes=codes))


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

"""The attribution that finds most planted codes, over all variants and the extractors that learned their classes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.evaluate.estimates import over_trainings
from cortex.explain import TIS

SCHEMA = pa.schema(
    [("rank", pa.int32()), ("method", pa.string())]
    + [(name, pa.float64()) for name in ("precision", "low", "high", "chance")]
    + [(name, pa.float64()) for name in ("difference", "difference_low", "difference_high", "precision_all")]
    + [(name, pa.int32()) for name in ("images", "trainings", "left_out")]
)
Precisions = Mapping[int, Mapping[str, NDArray[np.floating]]]


def ranked_methods(
    precisions: Sequence[Precisions], learned: Sequence[Mapping[int, bool]], chances: Sequence[float]
) -> pa.Table:
    """Rank attributions by their mean precision, and compare each with tis, training by training and image by image.

    Variants and extractors count the same. Two variants have independent images, and two extractors independent
    trainings. So the i-th images of all variants are one image of the means, and the i-th trainings of all extractors
    one training. Trainings that not every extractor has are left out, and so are trainings that learned nothing.
    Intervals cover trainings and images (METHOD.md, section 9).

    Args:
        precisions: of every variant and extractor, by training and attribution, the precision of each image ``[N]``.
        learned: of every variant and extractor, by training, whether it classifies better than guessing.
        chances: of every variant and extractor, the precision of guessing.

    Returns:
        Columns of :data:`SCHEMA`, rank 1 first. If no training learned anything, precision and difference are null, and
        the rank is that of precision_all.

    Raises:
        InputError: variants have other attributions or numbers of images than the first.
    """
    shapes = [
        {name: values.shape for name, values in of_method.items()}
        for of_training in precisions
        for of_method in of_training.values()
    ]
    if any(shape != shapes[0] for shape in shapes):
        raise InputError("attributions: not of the same methods and numbers of images in every folder")
    methods = list(shapes[0])
    trainings = [training for training in precisions[0] if all(training in found for found in precisions)]
    every = {training: range(len(precisions)) for training in trainings}
    used = {training: [cell for cell in cells if learned[cell][training]] for training, cells in every.items()}
    counts = {"trainings": sum(map(len, every.values())), "left_out": sum(len(every[t]) - len(used[t]) for t in every)}
    used = {training: cells for training, cells in used.items() if cells}

    def means(of: Mapping[int, Sequence[int]]) -> NDArray[np.float64]:
        """Means over cells ``[T, M, N]``."""
        return np.array([[np.mean([precisions[c][t][m] for c in of[t]], axis=0) for m in methods] for t in of])

    overall = means(every).mean((0, 2))
    rows = [
        {"method": method, "precision_all": float(value), "images": shapes[0][method][0], **counts}
        for method, value in zip(methods, overall, strict=True)
    ]
    cells = [cell for of_training in (used or every).values() for cell in of_training]
    for row in rows:
        row["chance"] = float(np.mean([chances[cell] for cell in cells]))
    if used:
        values = means(used)
        found = list(over_trainings(values).within(["precision"] * len(methods)).rows())
        beside = list(over_trainings(values - values[:, [methods.index(TIS)]]).rows())
        for row, own, difference in zip(rows, found, beside, strict=True):
            row |= {"precision": own["mean"], "low": own["low"], "high": own["high"]}
            row |= {"difference": difference["mean"]}
            row |= {f"difference_{end}": difference[end] for end in ("low", "high")}
    ordered = sorted(rows, key=lambda row: -row.get("precision", row["precision_all"]))
    return pa.Table.from_pylist([{"rank": rank, **row} for rank, row in enumerate(ordered, start=1)], SCHEMA)

"""The attribution that finds most planted codes, over all variants and extractors."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.evaluate.estimates import over_trainings
from cortex.explain import TIS

SCHEMA = pa.schema(
    [
        ("rank", pa.int32()),
        ("method", pa.string()),
        ("precision", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("chance", pa.float64()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("images", pa.int32()),
    ]
)


def ranked_methods(
    precisions: Sequence[Mapping[int, Mapping[str, NDArray[np.floating]]]], chances: Sequence[float]
) -> pa.Table:
    """Rank attributions by their mean precision, and compare each with tis, training by training and image by image.

    Variants and extractors count the same. Two variants have independent images, and two extractors independent
    trainings. So the i-th images of all variants are one image of the means, and the i-th trainings of all extractors
    one training. Trainings that not every extractor has are left out. Intervals cover trainings and images (METHOD.md,
    section 9).

    Args:
        precisions: of every variant and extractor, by training and attribution, the precision of each image ``[N]``.
        chances: of every variant and extractor, the precision of guessing.

    Returns:
        Columns of :data:`SCHEMA`, rank 1 first.

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
    values = np.array(
        [[np.mean([found[t][name] for found in precisions], axis=0) for name in methods] for t in trainings]
    )  # [T, M, N]
    found = over_trainings(values).within(["precision"] * len(methods))
    means = list(found.rows())
    beside = list(over_trainings(values - values[:, [methods.index(TIS)]]).rows())
    rows = [
        {
            "rank": rank,
            "method": methods[place],
            "precision": means[place]["mean"],
            "low": means[place]["low"],
            "high": means[place]["high"],
            "chance": float(np.mean(chances)),
            "difference": beside[place]["mean"],
            "difference_low": beside[place]["low"],
            "difference_high": beside[place]["high"],
            "images": values.shape[2],
        }
        for rank, place in enumerate((-found.mean).argsort(kind="stable"), start=1)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)

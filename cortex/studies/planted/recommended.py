"""The attribution that finds most planted codes, over all variants and extractors."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.evaluate.comparisons import paired
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
    precisions: Sequence[Mapping[str, NDArray[np.floating]]], chances: Sequence[float], resamples: int, seed: int
) -> pa.Table:
    """Rank attributions by their mean precision, and compare each with tis, image by image.

    Variants and extractors count the same. Images of two variants are independent, so the mean of the i-th images of
    all variants and extractors is one unit of the bootstrap.

    Args:
        precisions: of every variant and extractor, by attribution, the precision of each image ``[N]``.
        chances: of every variant and extractor, the precision of guessing.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        Columns of :data:`SCHEMA`, rank 1 first.

    Raises:
        InputError: variants have other attributions or numbers of images than the first.
    """
    methods = list(precisions[0])
    shapes = {name: values.shape for name, values in precisions[0].items()}
    if any({name: values.shape for name, values in found.items()} != shapes for found in precisions):
        raise InputError("attributions: not of the same methods and numbers of images in every folder")
    of_method = np.stack([np.mean([found[name] for found in precisions], axis=0) for name in methods])
    means = paired(of_method, resamples, seed)
    beside = paired(of_method - of_method[methods.index(TIS)], resamples, seed)
    rows = [
        {
            "rank": rank,
            "method": methods[place],
            "precision": means[place]["difference"],
            "low": means[place]["low"],
            "high": means[place]["high"],
            "chance": float(np.mean(chances)),
            "difference": beside[place]["difference"],
            "difference_low": beside[place]["low"],
            "difference_high": beside[place]["high"],
            "images": of_method.shape[1],
        }
        for rank, place in enumerate((-of_method.mean(1)).argsort(kind="stable"), start=1)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)

"""The tokens that tell two groups of images apart: the concept-level tokens of each (METHOD.md, section 7)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.randomness import key_seeds
from cortex.core.tables import write_table
from cortex.data.packed import read_packed, rows_of
from cortex.explain.importance import grid_importance
from cortex.explain.ranks import ranks
from cortex.explain.settings import Importance
from cortex.extractors.network import load_with_codebook
from cortex.studies.bias.settings import LISTS, GroupTokens

SCHEMA = pa.schema(
    [
        ("label", pa.int32()),
        ("method", pa.string()),
        ("rank", pa.int32()),
        ("token", pa.int32()),
        ("count", pa.int64()),
    ]
)


def find_group_tokens(
    output: Path,
    train: Path,
    extractor: Path,
    codebook: Path,
    *,
    labels: list[int],
    settings: GroupTokens,
    importance: Importance,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Find the concept-level tokens of two groups: the codes most often among the top-n positions of their images.

    The importance is the token importance score by an extractor that was trained to tell the groups apart. The
    published list, method concept, has each group's most counted tokens. Codes of the background may lead both lists.
    The list of method contrast has the tokens that are counted more often an image than in the other group, by the
    difference.

    Args:
        output: Parquet to write: label, method (concept or contrast), rank (from 0), token, count.
        train: packed grids that the extractor was trained on.
        extractor: weights of the extractor (train-extractor with the same labels).
        codebook: the generator's codebook.
        labels: the two groups: classes of the packed grids, in the extractor's order.
        settings: important positions of an image, and length of a list.
        importance: settings of the importance score.
        seed: seed of the noise, with the image's place in the packed grids.
        device: auto, cpu, cuda or cuda:N.
    """
    if len(set(labels)) != 2 or len(labels) != 2:
        raise InputError(f"labels {labels}: two different classes are needed")
    on = choose_device(device)
    network, code_vectors = load_with_codebook(extractor, codebook, on)
    packed = read_packed(train)
    counts, images = np.zeros((2, len(code_vectors)), np.int64), []
    for group, label in enumerate(labels):
        places = rows_of(packed, label, train)
        grids = packed["grid"][places].astype(np.int64)
        if int(grids.max()) >= len(code_vectors):
            raise InputError(f"{train}: token {int(grids.max())}; allowed: 0 to {len(code_vectors) - 1}")
        scores = grid_importance(
            network,
            code_vectors,
            torch.from_numpy(grids).to(on),
            torch.full((len(grids),), group, device=on),
            key_seeds(seed, "bias", [f"{label}/{place}" for place in places]).tolist(),
            importance,
            what=f"importance, class {label}",
        )
        important = grids.reshape(len(grids), -1)[ranks(scores) < settings.top_n]
        counts[group] = np.bincount(important, minlength=len(code_vectors))
        images.append(len(places))
    write_table(output, token_lists(counts, np.array(images), labels, settings.tokens))


def token_lists(counts: NDArray[np.int64], images: NDArray[np.integer], labels: list[int], tokens: int) -> pa.Table:
    """Both lists of both groups, of how often every code was important ``[2, K]`` in so many images ``[2]``."""
    rates = counts / images[:, None]
    parts = []
    for method, values in zip(LISTS, (rates, rates - rates[::-1]), strict=True):
        for group, label in enumerate(labels):
            best = np.argsort(-values[group], kind="stable")[:tokens]  # ties go to the lower code
            best = best[values[group][best] > 0]
            columns = {"token": best, "count": counts[group][best], "rank": np.arange(len(best))}
            columns |= {"label": np.full(len(best), label), "method": np.full(len(best), method)}
            parts.append(pa.table({name: columns[name] for name in SCHEMA.names}).cast(SCHEMA))
    return pa.concat_tables(parts)

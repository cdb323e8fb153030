"""The tokens that tell two groups of images apart: the concept-level tokens of each (METHOD.md, section 7)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import write_table
from cortex.data.packed import read_packed, rows_of
from cortex.data.tokens import Tokens
from cortex.explain import TIS
from cortex.explain.concept_tokens import TokenCounts
from cortex.explain.ranks import ranks
from cortex.explain.scores import score_images
from cortex.explain.settings import Importance
from cortex.extractors.network import load_with_codebook
from cortex.studies.bias.settings import GroupTokens

SCHEMA = pa.schema(
    [
        ("label", pa.int32()),
        ("list", pa.string()),
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
    published list, count, has each group's most counted tokens. Codes of the background may lead both lists. The list
    contrast has the tokens that are counted more often an image than in the other group, by the difference.

    Args:
        output: Parquet to write: label, list (count or contrast), rank (from 0), token, count.
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
    counter = TokenCounts(len(code_vectors))
    for group, label in enumerate(labels):
        places = rows_of(packed, label, train)
        grids = packed["grid"][places]
        if int(grids.max()) >= len(code_vectors):
            raise InputError(f"{train}: token {int(grids.max())}; allowed: 0 to {len(code_vectors) - 1}")
        tokens = grids.reshape(len(grids), -1)
        keys = [f"{label}/{place}" for place in places]
        images = Tokens(keys, np.full(len(keys), group), tokens, (grids.shape[1], grids.shape[2]), path=train)
        what = f"scores, class {label}"
        scores = score_images(TIS, network, code_vectors, images, importance, seed=seed, stream="bias", what=what)
        by_rank = np.take_along_axis(tokens, ranks(scores).argsort(1), axis=1)
        counter.add(images.labels, by_rank[:, : settings.top_n])
    write_table(output, pa.concat_tables(group_lists(counter, labels, settings.tokens)))


def group_lists(counter: TokenCounts, labels: list[int], tokens: int) -> Iterator[pa.Table]:
    """Both kinds of lists of both groups, of a counter whose labels are the groups, 0 and 1."""
    for name, columns in counter.lists():
        kept = columns["rank"] < tokens
        shown = {column: values[kept] for column, values in columns.items()}
        shown |= {"label": np.array(labels)[shown["label"]], "list": np.full(kept.sum(), name)}
        yield pa.table({column: shown[column] for column in SCHEMA.names}).cast(SCHEMA)

"""The tokens that tell two groups of images apart: the concept-level tokens of each (METHOD.md, section 7)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import write_table
from cortex.data.packed import read_packed
from cortex.data.tokens import Tokens
from cortex.explain import TIS
from cortex.explain.concept_tokens import TokenCounts
from cortex.explain.ranks import ranks
from cortex.explain.scores import score_images
from cortex.explain.settings import Importance
from cortex.extractors.network import load_with_codebook
from cortex.studies.bias.groups import FIRST, SECOND, read_groups
from cortex.studies.bias.settings import GroupTokens

AT_ONCE = 10_000  # images whose scores are in memory

SCHEMA = pa.schema(
    [
        ("group", pa.string()),
        ("list", pa.string()),
        ("rank", pa.int32()),
        ("token", pa.int32()),
        ("count", pa.int64()),
    ]
)


def find_group_tokens(
    output: Path,
    train: Path,
    groups: Path,
    extractor: Path,
    codebook: Path,
    *,
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
        output: Parquet to write: group (first or second), list (count or contrast), rank (from 0), token, count.
        train: packed grids of the train split.
        groups: the groups of its images.
        extractor: weights of the extractor that was trained on the groups' grids.
        codebook: the generator's codebook.
        settings: important positions of an image, and length of a list.
        importance: settings of the importance score.
        seed: seed of the noise, with the image's class and its place in the packed grids.
        device: auto, cpu, cuda or cuda:N.
    """
    network, code_vectors = load_with_codebook(extractor, codebook, choose_device(device))
    packed, members = read_packed(train), read_groups(groups)
    counter = TokenCounts(len(code_vectors))
    for number, group in enumerate((FIRST, SECOND)):
        of_group = members["train", group]
        for start in range(0, len(of_group), AT_ONCE):
            part = of_group.slice(start, AT_ONCE)
            rows, labels = part["row"].to_numpy(), part["label"].to_numpy()
            grids = packed["grid"][rows]
            if int(grids.max()) >= len(code_vectors):
                raise InputError(f"{train}: token {int(grids.max())}; allowed: 0 to {len(code_vectors) - 1}")
            tokens = grids.reshape(len(grids), -1)
            keys = [f"{label}/{row}" for label, row in zip(labels, rows, strict=True)]
            images = Tokens(keys, np.full(len(keys), number), tokens, (grids.shape[1], grids.shape[2]), path=train)
            what = f"scores, {group} group"
            scores = score_images(TIS, network, code_vectors, images, importance, seed=seed, stream="bias", what=what)
            by_rank = np.take_along_axis(tokens, ranks(scores).argsort(1), axis=1)
            counter.add(images.labels, by_rank[:, : settings.top_n])
    write_table(output, pa.concat_tables(group_lists(counter, settings.tokens)))


def group_lists(counter: TokenCounts, tokens: int) -> Iterator[pa.Table]:
    """Both kinds of lists of both groups, of a counter whose labels are the groups, 0 and 1."""
    for name, columns in counter.lists():
        kept = columns["rank"] < tokens
        shown = {column: values[kept] for column, values in columns.items()}
        shown |= {"group": np.array([FIRST, SECOND])[shown["label"]], "list": np.full(kept.sum(), name)}
        yield pa.table({column: shown[column] for column in SCHEMA.names}).cast(SCHEMA)

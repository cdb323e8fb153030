"""The figure of tokens as patches: what the decoder made of them in the images of shards."""

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.data.shard_reader import Sample, read_shard
from cortex.generators import DEFAULT_FAMILY
from cortex.report.draw.images import class_names
from cortex.report.draw.metrics import pairs
from cortex.report.figures import images as figures
from cortex.report.figures.style import Images, save_figure
from cortex.report.rows import short_names
from cortex.report.token_lists import token_lists


def draw_tokens(
    output: Path,
    shards: list[Path],
    *,
    extractors: list[str],
    concept_tokens: list[Path],
    frequent_tokens: Path,
    top_n: int,
    tokens: int = 100,
    classes: int = 10,
    patches: int = 20,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
) -> None:
    """Draw decoded patches of every class's first concept-level tokens and of its most frequent tokens.

    Args:
        output: figure to write (png).
        shards: tars of images. The picture of a token is the mean over all positions that hold it.
        extractors: trained extractors, such as cnn/0.
        concept_tokens: concept-level tokens by these extractors, in the same order.
        frequent_tokens: most frequent tokens.
        top_n: list of concept-level tokens to show.
        tokens: tokens of a list; a token that is not among the most frequent ones gets a frame.
        classes: number of classes to show at most.
        patches: number of tokens of a list.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, for the names of the classes; the family's own if not given.
    """
    frequent = token_lists(frequent_tokens, None, tokens)
    labels = sorted(frequent)[:classes]
    named = pairs(short_names(extractors), concept_tokens)
    lists = {f"{extractor}, top_n = {top_n}": token_lists(path, top_n, tokens) for extractor, path in named}
    lists["most frequent"] = frequent
    for title, of_label in lists.items():
        if missing := [label for label in labels if label not in of_label]:
            raise InputError(f"{title}: no tokens of class {missing[0]}")
    shown = {title: [of_label[label][:patches] for label in labels] for title, of_label in lists.items()}
    samples = chain.from_iterable(read_shard(shard, images=True) for shard in shards)
    patch_of = mean_patches(samples, sorted({token for rows in shown.values() for row in rows for token in row}))
    name = class_names(generator, family)
    figure = figures.tokens(
        [name(label) for label in labels],
        {title: [[patch_of.get(token) for token in row] for row in rows] for title, rows in shown.items()},
        {
            title: [[token not in frequent[label] for token in row] for label, row in zip(labels, rows, strict=True)]
            for title, rows in shown.items()
        },
    )
    save_figure(figure, output)


def mean_patches(samples: Iterable[Sample], tokens: list[int]) -> dict[int, Images]:
    """By token, the mean patch uint8 ``[P, Q, 3]`` of the images at the positions that hold it; no entry if none do.

    A token decoded without its context, such as a grid filled with it, shows little: the decoder looks at the
    neighbours, and never saw such grids.
    """
    place = np.full(1 << 16, -1)
    place[tokens] = np.arange(len(tokens))
    totals: NDArray[np.int64] | None = None
    counts = np.zeros(len(tokens), np.int64)
    for sample in samples:
        assert sample.image is not None  # read with it
        image, (height, width) = sample.image, sample.grid.shape
        rows, columns = image.shape[0] // height, image.shape[1] // width
        patches = image.reshape(height, rows, width, columns, 3).swapaxes(1, 2).reshape(-1, rows, columns, 3)
        if totals is None:
            totals = np.zeros((len(tokens), *patches.shape[1:]), np.int64)
        places = place[sample.grid.ravel()]
        np.add.at(totals, places[places >= 0], patches[places >= 0])
        np.add.at(counts, places[places >= 0], 1)
    assert totals is not None  # a shard holds at least one sample
    return {
        token: np.round(total / count).astype(np.uint8)
        for token, total, count in zip(tokens, totals, counts, strict=True)
        if count
    }

"""What a code alone brings about: put it in place of other codes in images of other classes, and ask a judge."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.tokens import Tokens, read_tokens
from cortex.dictionary import CODE, RANDOM
from cortex.dictionary.samples import AT_ONCE, Samples, sample_images
from cortex.evaluate.codebook_level import judge_grids
from cortex.generators import DEFAULT_FAMILY
from cortex.generators.load import load_generator
from cortex.judges.judge import load_judge

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("source", pa.int32()),
        ("label", pa.int32()),
        ("token", pa.int32()),
        ("method", pa.string()),
        ("probability", pa.float32()),
        ("probability_change", pa.float32()),
        ("replaced_fraction", pa.float32()),
    ]
)


def place_codes(
    output: Path,
    tokens: list[Path],
    pairs: Path,
    judge: Path,
    *,
    images_per_pair: int,
    family: str = DEFAULT_FAMILY,
    generator: Path | None = None,
    batch: int,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure how a judge's probability of a class changes when one code is put into images of other classes.

    The code takes the positions that it has in an image of its class, in a random test image of another class. Both
    images are decoded.

    Args:
        output: Parquet to write, a row a class, code, image and replacement: key (of the image that is changed), source
            (its class), label, token, method (code: the code; random: in its place another one, drawn by frequency),
            probability (of the label, after), probability_change (after minus before), replaced_fraction (of the
            positions).
        tokens: token tables of the test split.
        pairs: pairs of a class and a code to measure, as the command choose-pairs wrote them.
        judge: weights of a judge.
        images_per_pair: images of a pair, at most.
        family: generator family: a registered name, or module:Attribute.
        generator: weights file of the generator, or the name of a bundled one; the default one if not given.
        batch: images decoded and judged at once.
        seed: seed of the sample, the images and the random codes, together with an image's key and the code.
        device: auto, cpu, cuda or cuda:N.
    """
    on = choose_device(device)
    model, panelist = load_generator(generator, on, family=family, decode_only=True), load_judge(judge, on)
    images = read_tokens(tokens, codes=len(model.codebook))
    if len(np.unique(images.labels)) < 2:
        raise InputError(f"{images.path}: images of one class; a code is put into those of another")
    samples = sample_images(images, pairs, images_per_pair, len(model.codebook), seed)
    counts = np.bincount(images.tokens.ravel(), minlength=len(model.codebook))
    parts = [SCHEMA.empty_table()]
    for start in progress(range(0, len(samples), AT_ONCE), -(-len(samples) // AT_ONCE), "placing codes", "part"):
        part = samples.part(start)
        changed, grids, replaced = placed_grids(images, part, counts)
        rows, place = np.unique(changed, return_inverse=True)
        every = np.concatenate([images.grids[rows], grids.reshape(-1, *images.shape)])
        judged = judge_grids(model, panelist, every, batch).softmax(1).numpy()
        readings = np.concatenate([judged[place], judged[len(rows) :]]).reshape(3, len(part), -1)
        found = readings[:, np.arange(len(part)), part.labels]
        columns = {
            "key": [images.keys[row] for row in changed] * 2,
            "source": np.tile(images.labels[changed], 2),
            "label": np.tile(part.labels, 2),
            "token": np.tile(part.tokens, 2),
            "method": np.repeat([CODE, RANDOM], len(part)),
            "probability": found[1:].ravel(),
            "probability_change": (found[1:] - found[0]).ravel(),
            "replaced_fraction": np.tile(replaced.mean(1), 2),
        }
        parts.append(pa.table(columns).cast(SCHEMA))
    write_table(output, pa.concat_tables(parts))


def placed_grids(
    images: Tokens, samples: Samples, counts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Images of other classes with the samples' codes, at the positions of the codes in the samples' own images.

    Args:
        images: the test split.
        samples: images with a code each.
        counts: how often each code occurs in the split, int64 ``[K]``.

    Returns:
        Rows of the images ``[S]``; their grids with the code and with a random other code ``[2, S, P]``; and the
        positions that were replaced ``[S, P]``.
    """
    replaced = images.tokens[samples.rows] == samples.tokens[:, None]
    *_, for_image, for_code = samples.randoms(images.tokens.shape[1]).T
    by_label = np.argsort(images.labels, kind="stable")
    changed = by_label[_another(for_image, np.bincount(images.labels), samples.labels)]
    other = np.searchsorted(np.cumsum(counts), _another(for_code, counts, samples.tokens), side="right")
    before = images.tokens[changed].astype(np.int64)
    after = [np.where(replaced, code[:, None], before) for code in (samples.tokens, other)]
    return changed, np.stack(after), replaced


def _another(uniform: NDArray[np.float64], sizes: NDArray[np.int64], avoided: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of the numbers 0..1, an item of another group than the one to avoid, all equally probable.

    Args:
        uniform: ``[S]``.
        sizes: numbers of items of the groups ``[G]``; not all items are of one group.
        avoided: group, ``[S]``.

    Returns:
        Places of the items ``[S]`` among all, ordered by group.
    """
    without = sizes[avoided]
    first = np.cumsum(sizes)[avoided] - without
    place = (uniform * (sizes.sum() - without)).astype(np.int64)
    return place + np.where(place >= first, without, 0)

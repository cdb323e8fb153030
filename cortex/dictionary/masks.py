"""What a code alone carries: paint it black in images of a class, and ask a judge."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.progress import progress
from cortex.core.tables import write_table
from cortex.data.decoded import decoded_rows
from cortex.data.tokens import Tokens, read_tokens
from cortex.dictionary import CODE, RANDOM
from cortex.dictionary.samples import AT_ONCE, Samples, sample_images
from cortex.evaluate.masking import MEASURES, judge_masks
from cortex.explain.ranks import ranks
from cortex.judges.judge import load_judge

SCHEMA = pa.schema(
    [("key", pa.string()), ("label", pa.int32()), ("token", pa.int32()), ("method", pa.string())]
    + [(name, pa.float32()) for name in MEASURES]
)


def mask_codes(
    output: Path,
    tokens: list[Path],
    images: list[Path],
    pairs: Path,
    judge: Path,
    *,
    images_per_pair: int,
    codes: int,
    batch: int,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure how a judge's probability of a class changes when one code alone is painted black in its images.

    Args:
        output: Parquet to write, a row a class, code, image and mask: key, label, token, method (code: all positions
            that hold the code; random: as many random positions), and the measures of the masked image: probability,
            probability_change, logit, logit_change, masked_fraction, masked_brightness.
        tokens: token tables of the test split.
        images: decoded images of each table.
        pairs: pairs of a class and a code to measure, as the command choose-pairs wrote them.
        judge: weights of a judge.
        images_per_pair: images of a pair, at most.
        codes: codes in the codebook.
        batch: images that the judge sees at once.
        seed: seed of the sample and of the random positions, together with an image's key and the code.
        device: auto, cpu, cuda or cuda:N.
    """
    labelled = read_tokens(tokens, codes=codes)
    samples = sample_images(labelled, pairs, images_per_pair, codes, seed)
    panelist = load_judge(judge, choose_device(device))
    parts = [SCHEMA.empty_table()]
    for start in progress(range(0, len(samples), AT_ONCE), -(-len(samples) // AT_ONCE), "masking codes", "part"):
        part = samples.part(start)
        pictures = decoded_rows(labelled, images, part.rows)
        masks = code_masks(labelled, part)
        verdict = judge_masks(panelist, pictures, part.labels, masks, labelled.layout, batch)
        columns = {
            "key": [labelled.keys[row] for row in part.rows] * 2,
            "label": np.tile(part.labels, 2),
            "token": np.tile(part.tokens, 2),
            "method": np.repeat([CODE, RANDOM], len(part)),
            **{measure: getattr(verdict, measure).ravel() for measure in MEASURES},
        }
        parts.append(pa.table(columns).cast(SCHEMA))
    write_table(output, pa.concat_tables(parts))


def code_masks(images: Tokens, samples: Samples) -> NDArray[np.bool_]:
    """Masks of the code and of as many random positions, bool ``[2, S, P]``."""
    grids = images.tokens[samples.rows]
    masked = grids == samples.tokens[:, None]
    order = ranks(samples.randoms(grids.shape[1])[:, :-2])
    return np.stack([masked, order < masked.sum(1, keepdims=True)])

"""Concept level: mask a label's concept-level tokens, against its most frequent ones (METHOD.md, section 6)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.decoded import decoded_of
from cortex.data.tokens import Tokens, read_tokens
from cortex.evaluate.masking import MEASURES, judge_masks
from cortex.explain import IMPORTANCE
from cortex.explain.concept_tokens import LISTS, covering
from cortex.judges.judge import load_judge

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("method", pa.string()),
        ("list", pa.string()),
        ("top_n", pa.int32()),
        ("area", pa.float64()),
        ("tokens", pa.int32()),
    ]
    + [(name, pa.float32()) for name in MEASURES]
)


@dataclass(frozen=True)
class TokenSets:
    """The tokens of every label that one row of settings masks.

    Args:
        of: values of the columns method, list, top_n and area.
        labels, tokens: pairs of a label and a token.
    """

    of: dict[str, Any]
    labels: NDArray[np.int32]
    tokens: NDArray[np.int32]

    def mask(self, images: Tokens, codes: int) -> NDArray[np.bool_]:
        """Positions ``[N, P]`` of images whose token is one of their label's, and can be masked."""
        belongs = np.zeros((max(images.labels.max(), self.labels.max(initial=0)) + 1, codes), bool)
        belongs[self.labels, self.tokens] = True
        fine, mask = images.layout.maskable, np.zeros(images.tokens.shape, bool)
        mask[:, fine] = belongs[images.labels[:, None], images.tokens[:, fine]]
        return mask

    def sizes(self, images: Tokens) -> NDArray[np.int64]:
        """How many tokens every image's label has, ``[N]``."""
        return np.bincount(self.labels, minlength=int(images.labels.max()) + 1)[images.labels]


def judge_concepts(
    output: Path,
    tokens: Path,
    images: Path,
    concept_tokens: Path,
    frequent_tokens: Path,
    judge: Path,
    *,
    codes: int,
    top_n: list[int],
    areas: list[float],
    keep: int,
    batch: int,
    device: str = "auto",
) -> None:
    """Measure how a judge's logit and probability of the label change when its concept-level tokens are painted black.

    Every list is masked several times: its first tokens, as many as published; and the shortest beginnings of the list
    whose tokens cover given areas of the label's train images. A list that covers less is masked whole.

    Args:
        output: Parquet to write, a row an image and mask: key, label, method (importance, frequency), list (count,
            contrast), top_n (positions that counted as important; null for frequency), area (to cover; null for a fixed
            number of tokens), tokens (of the label that are masked), and the measures of the masked image: probability,
            probability_change, logit, logit_change, masked_fraction, masked_brightness.
        tokens: token table of the test split.
        images: decoded images of the table.
        concept_tokens: concept-level tokens of an extractor.
        frequent_tokens: the most frequent tokens.
        judge: weights of a judge.
        codes: codes in the codebook.
        top_n: lists of concept-level tokens to mask; results for each.
        areas: shares 0..1 of the label's train positions to cover; a result for each.
        keep: tokens of a list where no area is given.
        batch: images that the judge sees at once.
        device: auto, cpu, cuda or cuda:N.
    """
    labelled = read_tokens(tokens, codes=codes)
    sets = [
        *token_sets(concept_tokens, IMPORTANCE, top_n, areas, keep),
        *token_sets(frequent_tokens, "frequency", [None], areas, keep),
    ]
    masks = np.stack([each.mask(labelled, codes) for each in sets])
    panelist = load_judge(judge, choose_device(device))
    pictures = decoded_of(labelled, images)
    verdict = judge_masks(panelist, pictures, labelled.labels, masks, labelled.layout, batch)
    of_rows = np.repeat(np.arange(len(sets)), len(labelled))
    columns = {
        "key": labelled.keys * len(sets),
        "label": np.tile(labelled.labels, len(sets)),
        **{name: pa.array([each.of[name] for each in sets]).take(of_rows) for name in sets[0].of},
        "tokens": np.concatenate([each.sizes(labelled) for each in sets]),
        **{measure: getattr(verdict, measure).ravel() for measure in MEASURES},
    }
    write_table(output, pa.table(columns).cast(SCHEMA))


def token_sets(
    path: Path, method: str, top_n: Sequence[int | None], areas: Sequence[float], keep: int
) -> Iterator[TokenSets]:
    """What is masked of the lists of a file: their first tokens, and the beginnings that cover the areas.

    Args:
        path: lists of concept-level tokens, or of frequent ones.
        method: value of the column method.
        top_n: which of the lists; None where the file has no such column.
        areas: shares of the label's positions.
        keep: tokens of a list where no area is given.

    Raises:
        InputError: there is no list of a top_n.
    """
    table = read_table(path)
    for n in top_n:
        of_n = table if n is None else table.filter(pc.equal(table["top_n"], n))
        if not len(of_n):
            raise InputError(f"{path}: no tokens" + (f" for top_n = {n}" if n is not None else ""))
        for name in LISTS:
            rows = of_n.filter(pc.equal(of_n["list"], name)).sort_by([("label", "ascending"), ("rank", "ascending")])
            labels, tokens, rank, share = (rows[column].to_numpy() for column in ("label", "token", "rank", "share"))
            for area in (None, *areas):
                chosen = rank < keep if area is None else covering(labels, share, area)
                of = {"method": method, "list": name, "top_n": n, "area": area}
                yield TokenSets(of, labels[chosen], tokens[chosen])

"""Concept level: mask a label's concept-level tokens, against its most frequent ones (METHOD.md, section 6)."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cortex.core.device import choose_device
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.decoded import decoded_of
from cortex.data.tokens import read_tokens
from cortex.evaluate.masking import MEASURES, concept_mask, judge_masks
from cortex.explain import IMPORTANCE
from cortex.judges.judge import load_judge

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("label", pa.int32()),
        ("method", pa.string()),
        ("top_n", pa.int32()),
        ("tokens", pa.int32()),
    ]
    + [(name, pa.float32()) for name in MEASURES]
)


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
    keep: int,
    batch: int,
    device: str = "auto",
) -> None:
    """Measure how a judge's logit and probability of the label change when its concept-level tokens are painted black.

    Args:
        output: Parquet to write, a row an image, method and top_n: key, label, method (importance, frequency), top_n
            (list that was masked; null for frequency), tokens (of the list), and the measures of the masked
            image: probability, probability_change, logit, logit_change,
            masked_fraction, masked_brightness.
        tokens: token table of the test split.
        images: decoded images of the table.
        concept_tokens: concept-level tokens of an extractor.
        frequent_tokens: the most frequent tokens.
        judge: weights of a judge.
        codes: codes in the codebook.
        top_n: lists of concept-level tokens to mask; a result for each.
        keep: tokens of a list.
        batch: images that the judge sees at once.
        device: auto, cpu, cuda or cuda:N.
    """
    labelled = read_tokens(tokens, codes=codes)
    lists = _lists(concept_tokens, frequent_tokens, top_n)
    masks = [concept_mask(labelled.tokens, _belonging(table, keep, labelled.labels, codes)) for _, _, table in lists]
    panelist = load_judge(judge, choose_device(device))
    pictures = decoded_of(labelled, images)
    verdict = judge_masks(panelist, pictures, labelled.labels, np.stack(masks), labelled.shape, batch)
    count = len(labelled)
    table = pa.table(
        {
            "key": labelled.keys * len(lists),
            "label": np.tile(labelled.labels, len(lists)),
            "method": np.repeat([method for method, _, _ in lists], count),
            "top_n": pa.array([n for _, n, _ in lists for _ in range(count)], pa.int32()),
            "tokens": np.full(len(lists) * count, keep),
            **{measure: getattr(verdict, measure).ravel() for measure in MEASURES},
        }
    )
    write_table(output, table.cast(SCHEMA))


def _lists(concept_tokens: Path, frequent_tokens: Path, top_n: list[int]) -> list[tuple[str, int | None, pa.Table]]:
    """Method, top_n and rows of every list of tokens to mask."""
    important = read_table(concept_tokens)
    if missing := sorted(set(top_n) - set(important["top_n"].to_pylist())):
        raise InputError(f"{concept_tokens}: no tokens for top_n = {missing}")
    lists: list[tuple[str, int | None, pa.Table]] = [
        (IMPORTANCE, n, important.filter(np.asarray(important["top_n"]) == n)) for n in top_n
    ]
    return [*lists, ("frequency", None, read_table(frequent_tokens))]


def _belonging(table: pa.Table, keep: int, labels: NDArray[np.int64], codes: int) -> NDArray[np.bool_]:
    """For every image, which codes are among the first tokens of its label's list: bool ``[N, K]``."""
    kept = table.filter(np.asarray(table["rank"]) < keep)
    belongs = np.zeros((max(labels.max(), np.max(kept["label"])) + 1, codes), bool)
    belongs[kept["label"], kept["token"]] = True
    return belongs[labels]

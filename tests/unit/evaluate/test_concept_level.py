"""The concept level (METHOD.md, section 6): masking against a loop over pixels."""

from itertools import product

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.concept_level import judge_concepts
from cortex.explain.concept_tokens import FREQUENCY_SCHEMA, SCHEMA
from cortex.judges.judge import load_judge
from tests.unit.evaluate.by_hand import CODES, CPU, label_probability, painted_by_hand

# By method, list and label: tokens, and the shares of the label's positions that they hold.
LISTS = {
    ("importance", "count", 1): ([0, 2, 5], [0.1, 0.25, 0.3]),
    ("importance", "count", 4): ([3, 1], [0.4, 0.1]),
    ("importance", "contrast", 1): ([5, 2], [0.3, 0.25]),
    ("importance", "contrast", 4): ([1], [0.1]),
    ("frequency", "count", 1): ([5, 2, 1], [0.3, 0.25, 0.2]),
    ("frequency", "count", 4): ([3, 0], [0.4, 0.2]),
    ("frequency", "contrast", 1): ([2], [0.25]),
    ("frequency", "contrast", 4): ([0, 3, 1], [0.2, 0.4, 0.1]),
}
# By area, how many of these tokens are masked: the fewest that cover it, or all that there are.
COVERING = {
    0.1: dict.fromkeys(LISTS, 1),
    0.35: {
        ("importance", "count", 1): 2,
        ("importance", "count", 4): 1,
        ("importance", "contrast", 1): 2,
        ("importance", "contrast", 4): 1,
        ("frequency", "count", 1): 2,
        ("frequency", "count", 4): 1,
        ("frequency", "contrast", 1): 1,
        ("frequency", "contrast", 4): 2,
    },
}


@pytest.fixture
def inputs(run):
    """Files of the shard, of the lists, and of the judge; another top_n has other tokens."""
    folder, _, _ = run
    rows = [
        {"label": label, "list": kind, "rank": rank, "token": token, "count": 9 - rank, "share": share}
        | {"method": method}
        for (method, kind, label), tokens in LISTS.items()
        for rank, (token, share) in enumerate(zip(*tokens, strict=True))
    ]
    important = [row | {"top_n": 5} for row in rows if row["method"] == "importance"]
    important += [row | {"top_n": 1, "token": 0} for row in important if row["rank"] == 0]
    write_table(folder / "tokens.parquet", pa.Table.from_pylist(important[::-1], SCHEMA))
    frequent = [row for row in rows if row["method"] == "frequency"]
    write_table(folder / "frequency.parquet", pa.Table.from_pylist(frequent, FREQUENCY_SCHEMA))
    names = ("importance.parquet", "000000.npy", "tokens.parquet", "frequency.parquet", "judge.safetensors")
    return [folder / name for name in names]


def judged(run, inputs, **changes):
    output = run[0] / "rows.parquet"
    options = {"top_n": [5], "areas": [], "keep": 2, "batch": 4, "codes": CODES} | changes
    judge_concepts(output, *inputs, **options, device="cpu")
    return read_table(output).to_pylist()


def check(row, run, judge, count):
    """The row is the judge's reading of its image without so many tokens, painted pixel by pixel."""
    sample = next(sample for sample in run[1] if sample.key == row["key"])
    tokens, _ = LISTS[row["method"], row["list"], sample.label]
    painted = painted_by_hand(sample.image, sample.grid, tokens[:count])
    assert row["probability"] == pytest.approx(label_probability(judge, painted, sample.label), abs=1e-5)
    assert row["masked_fraction"] == pytest.approx(sum(token in tokens[:count] for token in sample.grid.ravel()) / 64)
    assert row["tokens"] == min(count, len(tokens))
    assert row["top_n"] == (5 if row["method"] == "importance" else None)


def test_concept_level_masks_the_labels_own_tokens(run, inputs):
    judge = load_judge(run[0] / "judge.safetensors", CPU)
    for keep in (1, 2):
        rows = judged(run, inputs, keep=keep)
        assert len(rows) == 6 * 4
        for row in rows:
            assert row["area"] is None
            check(row, run, judge, keep)


def test_areas_mask_the_fewest_tokens_that_cover_them(run, inputs):
    judge = load_judge(run[0] / "judge.safetensors", CPU)
    rows = [row for row in judged(run, inputs, areas=[0.1, 0.35]) if row["area"] is not None]
    found = {(row["method"], row["list"], row["area"]) for row in rows}
    assert found == set(product(("importance", "frequency"), ("count", "contrast"), (0.1, 0.35)))
    assert len(rows) == 6 * 8
    for row in rows:
        check(row, run, judge, COVERING[row["area"]][row["method"], row["list"], row["label"]])


def test_areas_change_nothing_about_fixed_numbers(run, inputs):
    alone = judged(run, inputs)
    beside = [row for row in judged(run, inputs, areas=[0.2]) if row["area"] is None]
    assert beside == alone


def test_a_list_without_tokens_masks_nothing(run, inputs):
    """Classes that are important in the same tokens have no contrast."""
    table = read_table(inputs[2])
    write_table(inputs[2], table.filter(pc.equal(table["list"], "count")))
    judge = load_judge(run[0] / "judge.safetensors", CPU)
    for row in judged(run, inputs, areas=[0.2]):
        if (row["method"], row["list"]) == ("importance", "contrast"):
            sample = next(sample for sample in run[1] if sample.key == row["key"])
            assert (row["tokens"], row["masked_fraction"], row["probability_change"]) == (0, 0, 0)
            assert row["probability"] == pytest.approx(label_probability(judge, sample.image, sample.label), abs=1e-5)


def test_lists_that_are_not_there_are_refused(run, inputs):
    with pytest.raises(InputError, match=r"tokens.parquet: no tokens for top_n = 7"):
        judged(run, inputs, top_n=[5, 7])

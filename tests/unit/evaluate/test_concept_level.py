"""The concept level (METHOD.md, section 6): masking against a loop over pixels."""

import pyarrow as pa
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.evaluate.concept_level import judge_concepts
from cortex.explain.concept_tokens import FREQUENCY_SCHEMA, SCHEMA
from cortex.judges.judge import load_judge
from tests.unit.evaluate.by_hand import CODES, CPU, label_probability, painted_by_hand


def test_concept_level_masks_the_labels_own_tokens(run):
    folder, samples, _ = run
    chosen = {(1, 5): [0, 2], (4, 5): [3, 1], (1, None): [4, 5], (4, None): [5, 0]}
    rows = [
        {"label": label, "top_n": n, "rank": rank, "token": token, "count": 9 - rank}
        for (label, n), tokens in chosen.items()
        for rank, token in enumerate(tokens)
    ]
    important = [row for row in rows if row["top_n"]]
    frequent = [{k: v for k, v in row.items() if k != "top_n"} for row in rows if not row["top_n"]]
    write_table(folder / "tokens.parquet", pa.Table.from_pylist(important, SCHEMA))
    write_table(folder / "frequency.parquet", pa.Table.from_pylist(frequent, FREQUENCY_SCHEMA))
    files = ("importance.parquet", "000000.npy", "tokens.parquet", "frequency.parquet", "judge.safetensors")
    inputs = [folder / name for name in files]
    judge = load_judge(folder / "judge.safetensors", CPU)
    by_key = {sample.key: sample for sample in samples}
    for keep in (1, 2):
        judge_concepts(folder / "rows.parquet", *inputs, codes=CODES, top_n=[5], keep=keep, batch=4, device="cpu")
        table = read_table(folder / "rows.parquet").to_pylist()
        assert len(table) == 6 * 2
        for row in table:
            sample = by_key[row["key"]]
            assert (row["top_n"] is None) == (row["method"] == "frequency")
            painted = painted_by_hand(sample.image, sample.grid, chosen[sample.label, row["top_n"]][:keep])
            expected = label_probability(judge, painted, sample.label)
            assert row["probability"] == pytest.approx(expected, abs=1e-5)
            assert row["tokens"] == keep
    with pytest.raises(InputError, match=r"tokens.parquet: no tokens for top_n = \[7\]"):
        judge_concepts(folder / "rows.parquet", *inputs, codes=CODES, top_n=[5, 7], keep=1, batch=4, device="cpu")

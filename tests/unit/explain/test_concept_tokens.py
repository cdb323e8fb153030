"""Concept-level tokens (METHOD.md, section 4) against collections.Counter."""

from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.packed import pack_grids
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.explain.concept_tokens import TokenCounts, count_frequent, count_important
from cortex.explain.importance import schema

CODES = 9


def most_common(counter, tokens):
    """Counter.most_common with ties going to the lower token."""
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))[:tokens]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(0, 8), min_size=3, max_size=3)), min_size=1)),
    st.integers(1, 10),
)
def test_counts_are_those_of_a_counter(parts, tokens):
    ours, theirs = TokenCounts(CODES), defaultdict(Counter)
    for part in parts:
        ours.add(np.array([label for label, _ in part]), np.array([codes for _, codes in part]))
        for label, codes in part:
            theirs[label].update(codes)
    columns = ours.most_counted(tokens)
    expected = [
        (label, rank, token, count)
        for label in sorted(theirs)
        for rank, (token, count) in enumerate(most_common(theirs[label], tokens))
    ]
    rows = list(zip(*(columns[name].tolist() for name in ("label", "rank", "token", "count")), strict=True))
    assert rows == expected


@pytest.fixture
def explained(tmp_path):
    rng = np.random.default_rng(0)
    shards, files, samples, scores = [], [], [], []
    for shard in range(3):
        part = [
            Sample(
                f"train-{label:04d}-{shard * 5 + index:06d}", label, rng.integers(0, CODES, (4, 4)).astype(np.uint16)
            )
            for index in range(5)
            for label in (0, 3)
        ]
        score = rng.normal(size=(len(part), 16)).astype(np.float32)
        shards.append(tmp_path / f"{shard:06d}.tar")
        files.append(tmp_path / f"{shard:06d}.parquet")
        write_shard(shards[-1], part)
        rows = [
            {"key": sample.key, "label": sample.label, "predicted": 0, "importance": row.tolist()}
            for sample, row in zip(part, score, strict=True)
        ]
        write_table(files[-1], pa.Table.from_pylist(rows, schema(16)))
        samples += part
        scores.append(score)
    return tmp_path, shards, files, samples, np.concatenate(scores)


def test_concept_tokens_are_counted_among_the_top_positions(explained):
    folder, shards, files, samples, scores = explained
    count_important(folder / "tokens.parquet", shards, files, codes=CODES, top_n=[1, 5, 16], tokens=4)
    table = read_table(folder / "tokens.parquet")
    assert table.column_names == ["label", "top_n", "rank", "token", "count"]
    expected = []
    for n in (1, 5, 16):
        counters = defaultdict(Counter)
        for sample, score in zip(samples, scores, strict=True):
            positions = sorted(range(16), key=lambda position: -score[position])[:n]
            counters[sample.label].update(int(sample.grid.ravel()[position]) for position in positions)
        for label in (0, 3):
            for rank, (token, count) in enumerate(most_common(counters[label], 4)):
                expected.append({"label": label, "top_n": n, "rank": rank, "token": token, "count": count})
    assert table.to_pylist() == expected


def test_frequency_ignores_importance(explained):
    folder, shards, _, samples, _ = explained
    pack_grids(folder / "grids.npy", shards, codes=CODES)
    count_frequent(folder / "frequency.parquet", folder / "grids.npy", codes=CODES, tokens=4)
    table = read_table(folder / "frequency.parquet")
    counters = defaultdict(Counter)
    for sample in samples:
        counters[sample.label].update(sample.grid.ravel().tolist())
    expected = [
        {"label": label, "rank": rank, "token": token, "count": count}
        for label in (0, 3)
        for rank, (token, count) in enumerate(most_common(counters[label], 4))
    ]
    assert table.to_pylist() == expected


def test_shards_and_scores_come_in_pairs(explained):
    folder, shards, files, *_ = explained
    with pytest.raises(InputError, match="3 shards, 2 importance files"):
        count_important(folder / "tokens.parquet", shards, files[:2], codes=CODES, top_n=[1])
    with pytest.raises(InputError, match="not of the same images"):
        count_important(folder / "tokens.parquet", shards, files[::-1], codes=CODES, top_n=[1])


def test_a_token_out_of_the_codebook_is_refused(explained):
    folder, shards, files, *_ = explained
    with pytest.raises(InputError, match=r"000000.tar.*token 8; allowed: 0 to 7"):
        count_important(folder / "tokens.parquet", shards, files, codes=8, top_n=[1])

"""Concept-level tokens (METHOD.md, section 4) against collections.Counter."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.packed import pack_grids
from cortex.data.shard_reader import Sample
from cortex.explain.concept_tokens import TokenCounts, count_frequent, count_important
from cortex.explain.settings import ConceptTokens
from tests.tables import write_samples

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
    files, samples, scores = [], [], []
    for shard in range(3):
        part = [
            Sample(
                f"train-{label:04d}-{shard * 5 + index:06d}", label, rng.integers(0, CODES, (4, 4)).astype(np.uint16)
            )
            for index in range(5)
            for label in (0, 3)
        ]
        score = rng.normal(size=(len(part), 16)).astype(np.float32)
        files.append(write_samples(tmp_path / f"{shard:06d}.parquet", part, importance=score))
        samples += part
        scores.append(score)
    return tmp_path, files, samples, np.concatenate(scores)


def test_concept_tokens_are_counted_among_the_top_positions(explained):
    folder, files, samples, scores = explained
    settings = ConceptTokens(top_n=[1, 5, 16], tokens=4)
    count_important(folder / "tokens.parquet", files, codes=CODES, settings=settings)
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
    folder, files, samples, _ = explained
    pack_grids(folder / "grids.npy", files, codes=CODES)
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


def test_files_without_scores_or_of_other_grids_are_refused(explained):
    folder, files, samples, _ = explained
    write_samples(files[1], samples[:2])
    with pytest.raises(InputError, match=r"000001.parquet: no column \['importance'\]"):
        count_important(folder / "tokens.parquet", files, codes=CODES, settings=ConceptTokens())
    other = Sample("train-0000-000099", 0, np.zeros((2, 8), np.uint16))
    write_samples(files[1], [other], importance=np.zeros((1, 16), np.float32))
    with pytest.raises(InputError, match=r"000001.parquet: grids of 2×8 tokens; those of .*000000.parquet are of 4×4"):
        count_important(folder / "tokens.parquet", files, codes=CODES, settings=ConceptTokens())
    assert not (folder / "tokens.parquet").exists()


def test_a_token_out_of_the_codebook_is_refused(explained):
    folder, files, *_ = explained
    with pytest.raises(InputError, match=r"000000.parquet.*token 8; allowed: 0 to 7"):
        count_important(folder / "tokens.parquet", files, codes=8, settings=ConceptTokens(top_n=[1]))

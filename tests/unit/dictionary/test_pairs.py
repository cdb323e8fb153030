"""Pairs whose causes are measured: codes that mark a class first, then the lists of frequent tokens."""

import numpy as np
import pyarrow as pa
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import write_table
from cortex.dictionary.pairs import choose_pairs, read_pairs
from cortex.dictionary.settings import Kinds
from cortex.explain.concept_tokens import FREQUENCY_SCHEMA

BOUNDS = Kinds(least_share=0.3)
# Class 1: code 1 in two images, code 2 in three. Class 4: code 3 in one. Code 0 is everywhere.
GRIDS = {1: [[0, 1, 2], [0, 1, 2], [0, 2, 2]], 4: [[0, 3, 0], [0, 0, 0], [0, 0, 0]]}
LISTS = {("contrast", 1): [2, 6], ("contrast", 4): [5, 3], ("count", 1): [9], ("count", 4): [9]}


@pytest.fixture
def files(tmp_path, packed):
    labels = np.repeat(list(GRIDS), 3)
    np.save(tmp_path / "grids.npy", packed(labels, [[grid] for grids in GRIDS.values() for grid in grids]))
    rows = [
        {"label": label, "list": kind, "rank": rank, "token": token, "count": 1, "share": 0.0}
        for (kind, label), listed in LISTS.items()
        for rank, token in enumerate(listed)
    ]
    write_table(tmp_path / "frequency.parquet", pa.Table.from_pylist(rows[::-1], FREQUENCY_SCHEMA))

    def chosen(pairs):
        output = tmp_path / "pairs.parquet"
        choose_pairs(
            output, tmp_path / "grids.npy", tmp_path / "frequency.parquet", codes=10, pairs=pairs, settings=BOUNDS
        )
        return list(zip(*(part.tolist() for part in read_pairs(output, 10)), strict=True))

    return chosen


def test_codes_that_mark_a_class_come_first_then_the_first_by_contrast(files):
    """Of each class in turn; a code that marks its class and is listed is one pair."""
    assert files(100) == [(1, 2), (4, 3), (1, 1), (4, 5), (1, 6)]


def test_there_are_as_many_pairs_as_the_setting_allows(files):
    assert files(2) == [(1, 2), (4, 3)]
    assert files(4) == [(1, 2), (4, 3), (1, 1), (4, 5)]


def test_where_no_code_marks_a_class_the_lists_decide(files, tmp_path, packed):
    np.save(tmp_path / "grids.npy", packed([1, 4], [[[0, 7]], [[0, 7]]]))
    assert files(3) == [(1, 2), (4, 5), (1, 6)]


def test_pairs_of_another_codebook_are_refused(files, tmp_path):
    files(100)
    with pytest.raises(InputError, match=r"pairs.parquet: token 6; the codebook has the codes 0 to 5"):
        read_pairs(tmp_path / "pairs.parquet", 6)

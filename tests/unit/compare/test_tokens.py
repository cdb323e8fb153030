"""Concept tokens side by side, and their overlap by hand."""

import numpy as np
import pytest

from cortex.compare.tokens import across, relabelled, within
from tests.unit.report.example import CODES, EXTRACTORS, METHODS, TOP_N


def trained(*lists):
    """Lists of one class (label 3 of its run) by a kind and top_n, of some trainings."""
    return [relabelled({("contrast", 5, 3): tokens}, [3], [5]) for tokens in lists]


def test_overlap_of_two_runs_is_the_mean_over_pairs_of_their_trainings():
    """Of the first five: the pairs share 5, 2, 0 and 1 tokens, (5 + 2 + 0 + 1) / 4 / 5."""
    mine = trained([1, 2, 3, 4, 5, 6], [11, 12, 13, 14, 15])
    theirs = trained([5, 4, 3, 2, 1, 9], [1, 2, 7, 8, 15])
    contrast, counted = across(mine, theirs, [5]).mean
    assert (counted, contrast) == (0, pytest.approx((5 + 2 + 0 + 1) / 20))  # the runs have no list of counts


def test_overlap_within_a_run_is_the_mean_over_its_pairs():
    """Three trainings share 3, 1 and 2 of the first five."""
    contrast, _ = within(trained([1, 2, 3, 4, 5], [1, 2, 3, 6, 7], [5, 6, 7, 8, 9]), [5]).mean
    assert contrast == pytest.approx((3 + 1 + 2) / 15)


def rows_of(compared, table, **values):
    return [row for row in compared.tables[table] if all(row[name] == value for name, value in values.items())]


def listed(number):
    """The contrast list of label c by training ``number`` of the example: 1, 2, 3, 4 + c, and one of its own."""
    return [{(1 + c + step) % CODES for step in range(4)} | {(10 + c + number % 3) % CODES} for c in range(1, 7)]


def test_overlap_of_trainings_that_differ_in_one_token(compared):
    """The numbers of cnn's trainings are 0, 1, 2 in every run: the same number, the same list."""
    for method in METHODS:
        (row,) = rows_of(
            compared,
            "overlap",
            attribution=method,
            extractor="cnn",
            list="contrast",
            top_n=TOP_N,
            other_run="two",
            run="one",
        )
        pairs = [(s, t) for s in range(3) for t in range(3)]
        shares = [len(a & b) / 5 for s, t in pairs for a, b in zip(listed(s), listed(t), strict=True)]
        assert (row["n"], row["pairs"], row["classes"]) == (5, 9, 6)
        assert row["value"] == pytest.approx(np.mean(shares)) == pytest.approx((3 * 5 + 6 * 4) / 9 / 5)
        assert row["low"] <= row["value"] <= row["high"] <= 1
        (row,) = rows_of(
            compared, "overlap", attribution=method, extractor="cnn", list="contrast", top_n=TOP_N, other_run="one"
        )
        assert (row["pairs"], row["value"]) == (3, pytest.approx(4 / 5))


def test_runs_of_other_codebooks_and_single_trainings_have_no_overlap(compared):
    pairs = {(row["run"], row["other_run"]) for row in compared.tables["overlap"]}
    assert pairs == {("one", "one"), ("two", "two"), ("one", "two")}


def test_tokens_of_a_class_are_those_of_its_label_in_every_run(compared):
    for run, label, training in (("one", 1, -1), ("two", 1, -1), ("three", 6, 0)):
        for extractor in EXTRACTORS:
            place = {"run": run, "class": "bee", "extractor": extractor, "attribution": "tis"}
            rows = rows_of(compared, "tokens", **place, list="contrast", top_n=TOP_N)
            assert [row["rank"] for row in rows] == [0, 1, 2, 3, 4]
            assert [row["token"] for row in rows][:4] == [(1 + label + step) % CODES for step in range(4)]
            assert {row["training"] for row in rows} == {training}

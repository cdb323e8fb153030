"""The dictionary's table: rows that are kept, and what is joined to them, against loops."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.dictionary.occurrences import count_occurrences
from cortex.dictionary.table import least_images, write_dictionary
from cortex.explain.concept_tokens import SCHEMA
from cortex.generators.codebook_only import codebook_metadata
from cortex.generators.spec import GeneratorSpec

CODES = 5


@given(st.lists(st.integers(1, 6), min_size=1), st.integers(1, 12))
def test_the_threshold_is_the_lowest_that_leaves_few_enough_rows(images, rows):
    least = least_images(np.array(images), rows)
    assert sum(count >= least for count in images) <= rows
    assert least == 1 or sum(count >= least - 1 for count in images) > rows


@pytest.fixture
def written(tmp_path, packed):
    """A dictionary of two named classes, of six rows at most, and its inputs."""
    rng = np.random.default_rng(3)
    labels, grids = [0] * 6 + [1] * 6, np.minimum(rng.geometric(0.4, (12, 2, 3)) - 1, CODES - 1)
    np.save(tmp_path / "grids.npy", packed(labels, grids))
    spec = GeneratorSpec(
        class_names=("ant", "bee"), grid=(2, 3), codes=CODES, channels=2, image=(4, 6), pixels=(0.0, 1.0),
        samples=False, decodes=False, encodes=False, prior=False,
    )  # fmt: skip
    write_weights(tmp_path / "codebook.safetensors", {"codebook": torch.randn(CODES, 2)}, codebook_metadata(spec))
    found = count_occurrences(packed(labels, grids), CODES)
    pairs = list(zip(found.labels.tolist(), found.tokens.tolist(), strict=True))
    scores = {pair: float(rng.normal()) for pair in pairs}
    importance = [{"label": pair[0], "token": pair[1], "importance": score} for pair, score in scores.items()]
    write_table(tmp_path / "importance.parquet", pa.Table.from_pylist(importance[::-1]))
    lists = [
        {"label": label, "top_n": top_n, "list": kind, "rank": rank, "token": token, "count": 1, "share": 0.1}
        for label in (0, 1)
        for top_n, shift in ((5, 0), (9, 1))
        for kind, tokens in (("count", [0, 1, 2]), ("contrast", [2 - label]))
        for rank, token in enumerate(tokens[shift:])
    ]
    write_table(tmp_path / "lists.parquet", pa.Table.from_pylist(lists, SCHEMA))
    rarest = pairs[int(np.argmin(found.images))]
    causes = [
        {"key": "a", "label": rarest[0], "token": rarest[1], "method": method, "probability_change": change}
        for method, change in (("code", -0.3), ("random", -0.1))
    ]
    write_table(tmp_path / "masked.parquet", pa.Table.from_pylist(causes))
    write_dictionary(
        tmp_path / "dictionary.parquet",
        tmp_path / "grids.npy",
        tmp_path / "codebook.safetensors",
        importance=(f"tis/cnn={tmp_path / 'importance.parquet'}",),
        concept_tokens=(f"tis/cnn={tmp_path / 'lists.parquet'}",),
        top_n=5,
        masked=(tmp_path / "masked.parquet",),
        rows=6,
    )
    return read_table(tmp_path / "dictionary.parquet"), labels, grids, scores, rarest


def test_rows_above_the_threshold_are_kept_and_the_metadata_says_which(written):
    table, labels, grids, _, rarest = written
    holding = {
        (label, token): sum(token in grid for of, grid in zip(labels, grids, strict=True) if of == label)
        for label in (0, 1)
        for token in range(CODES)
    }
    occurring = {pair: images for pair, images in holding.items() if images}
    least = int(table.schema.metadata[b"cortex.least_images"])
    kept = {pair for pair, images in occurring.items() if images >= least} | {rarest}
    assert least > 1 and least - 1 in occurring.values(), "or the test shows nothing"
    assert list(zip(table["label"].to_pylist(), table["token"].to_pylist(), strict=True)) == sorted(kept)
    assert int(table.schema.metadata[b"cortex.pairs"]) == len(occurring)
    assert table["images"].to_pylist() == [occurring[pair] for pair in sorted(kept)]


def test_values_are_those_of_their_pair(written):
    table, labels, grids, scores, rarest = written
    assert table.schema.metadata[b"cortex.top_n"] == b"5"
    for row in table.to_pylist():
        pair = row["label"], row["token"]
        of_label = grids[np.array(labels) == row["label"]]
        assert row["class_name"] == ("ant", "bee")[row["label"]]
        assert row["count"] == (of_label == row["token"]).sum()
        assert row["share"] == pytest.approx((of_label == row["token"]).mean())
        assert row["class_share"] == pytest.approx(row["count"] / (grids == row["token"]).sum())
        assert row["log_odds_low"] < row["log_odds"] < row["log_odds_high"]
        assert row["importance/tis/cnn"] == scores[pair]
        assert row["count_rank/tis/cnn"] == (row["token"] if row["token"] < 3 else None)
        assert row["contrast_rank/tis/cnn"] == (0 if row["token"] == 2 - row["label"] else None)
        assert row["masked"] == (pytest.approx(-0.3) if pair == rarest else None)
        assert row["masked_excess"] == (pytest.approx(-0.2) if pair == rarest else None)
    assert "placed" not in table.column_names


def test_a_single_class_has_no_log_odds(tmp_path, packed):
    np.save(tmp_path / "grids.npy", packed([0, 0], np.array([[[0, 1]], [[1, 1]]])))
    spec = GeneratorSpec(
        class_names=("ant",), grid=(1, 2), codes=2, channels=2, image=(4, 8), pixels=(0.0, 1.0),
        samples=False, decodes=False, encodes=False, prior=False,
    )  # fmt: skip
    write_weights(tmp_path / "codebook.safetensors", {"codebook": torch.randn(2, 2)}, codebook_metadata(spec))
    paths = [tmp_path / name for name in ("dictionary.parquet", "grids.npy", "codebook.safetensors")]
    write_dictionary(*paths, top_n=5, rows=6)
    table = read_table(paths[0])
    assert table["count"].to_pylist() == [1, 3]
    assert all(table[f"log_odds{end}"].null_count == 2 for end in ("", "_low", "_high"))

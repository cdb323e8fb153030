"""How far pictures are from their decoded tokens: by hand, on the toy generator, whose tokens are plain tiles."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cortex.core.tables import read_table
from cortex.data.tokens import Tokens, write_tokens
from cortex.evaluate.reconstruction import measure_reconstruction
from tests.toy_generator import SPEC, ToyGenerator

TOY = {"family": "tests.toy_generator:FAMILY", "device": "cpu", "resamples": 50}


@pytest.fixture
def files(tmp_path):
    """Four pictures of two classes: those of class 0 are their tokens; those of class 3 are black and white halves."""
    grids = np.random.default_rng(0).integers(0, 5, (4, *SPEC.grid))
    grids[2:] = 7
    decoded = ToyGenerator(torch.device("cpu")).decode(torch.from_numpy(grids)).numpy()
    images = decoded.copy()
    images[2:, :16], images[2:, 16:] = 0, 255
    parts = SimpleNamespace(tokens=[], images=[], grids=grids, colour=decoded[2, 0, 0].astype(float))
    for number, rows in enumerate(([0, 2], [3, 1])):
        parts.tokens.append(tmp_path / f"{number}.parquet")
        parts.images.append(tmp_path / f"{number}.npy")
        labels = np.array([0, 0, 3, 3])[rows]
        tokens = grids[rows].reshape(2, -1).astype(np.uint16)
        write_tokens(parts.tokens[-1], Tokens([f"k{row}" for row in rows], labels, tokens, SPEC.grid))
        np.save(parts.images[-1], images[rows])
    return parts


def test_errors_are_those_of_tokens_and_of_plain_colours(tmp_path, files):
    measure_reconstruction(tmp_path / "out.parquet", files.tokens, files.images, **TOY)
    rows = {row["label"]: row for row in read_table(tmp_path / "out.parquet").to_pylist()}
    assert list(rows) == [None, 0, 3] and [row["samples"] for row in rows.values()] == [4, 2, 2]
    assert rows[0]["l1"] == 0 and rows[0]["fits"] and rows[0]["codes"] == 5
    # Half of the pixels are 0, half 255: a tile's colour c is off by c or by 255 - c, on average by 127.5, as grey is.
    assert rows[3]["l1"] == pytest.approx(1) and rows[3]["plain_l1"] == pytest.approx(1)
    assert not rows[3]["fits"] or rows[3]["l1"] < rows[3]["plain_l1"]
    assert (rows[3]["codes"], rows[3]["perplexity"]) == (1, pytest.approx(1))
    assert rows[None]["l1"] == pytest.approx((rows[0]["l1"] + rows[3]["l1"]) / 2)
    assert rows[None]["l1_low"] <= rows[None]["l1"] <= rows[None]["l1_high"]
    counts = np.bincount(files.grids.ravel())
    shares = counts[counts > 0] / counts.sum()
    assert rows[None]["codes"] == 6
    assert rows[None]["perplexity"] == pytest.approx(2 ** -(shares * np.log2(shares)).sum())


def test_pictures_that_are_a_plain_colour_fit_no_other(tmp_path, files):
    for path in files.images:
        np.save(path, np.full((2, 32, 32, 3), 90, np.uint8))
    measure_reconstruction(tmp_path / "out.parquet", files.tokens, files.images, **TOY)
    row = read_table(tmp_path / "out.parquet").to_pylist()[0]
    assert row["plain_l1"] == 0 < row["l1"] and not row["fits"]

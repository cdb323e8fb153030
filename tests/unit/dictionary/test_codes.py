"""The table of codes, its patches and the importance of codes, against loops."""

import io
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.core.weights import write_weights
from cortex.data.tokens import Tokens, write_tokens
from cortex.dictionary import patches
from cortex.dictionary.codes import describe_codes, nearest_codes_of
from cortex.dictionary.importance import mean_importance
from cortex.dictionary.patches import describe_patches
from cortex.dictionary.settings import Kinds

CODES = 6


def test_nearest_codes_are_those_of_a_loop():
    vectors = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    near, distances = nearest_codes_of(vectors, 3)
    for code, vector in enumerate(vectors.double()):
        by_distance = sorted((float((vector - other).norm()), place) for place, other in enumerate(vectors.double()))[
            1:4
        ]
        assert near[code].tolist() == [place for _, place in by_distance]
        assert distances[code].tolist() == pytest.approx([distance for distance, _ in by_distance])


def test_codes_of_several_scales_have_neighbours_of_their_own_scale():
    """The same four codes at two scales; each would be nearest to its own copy."""
    vectors = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    near, distances = nearest_codes_of(vectors.repeat(2, 1), 2, repeats=2)
    assert near.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1], [5, 6], [4, 6], [5, 4], [6, 5]]
    assert distances.tolist() == [[1, 3], [1, 2], [2, 3], [4, 6]] * 2


@pytest.fixture
def shards(tmp_path, monkeypatch):
    """Two token tables of 2×3 grids, and their images of 8×6 pixels, cut two at a time. Code 4 does not occur."""
    monkeypatch.setattr(patches, "AT_ONCE", 2)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, CODES, (5, 6)).astype(np.uint16)
    tokens[tokens == 4] = 0
    images = rng.integers(0, 256, (5, 8, 6, 3)).astype(np.uint8)
    files = []
    for number, rows in enumerate((slice(0, 3), slice(3, 5))):
        keys = [f"{number}-{row}" for row in range(len(tokens[rows]))]
        files.append((tmp_path / f"{number}.parquet", tmp_path / f"{number}.npy"))
        write_tokens(files[-1][0], Tokens(keys, np.array([1] * len(keys)), tokens[rows], (2, 3)))
        np.save(files[-1][1], images[rows])
    return tmp_path, tokens, images, [list(paths) for paths in zip(*files, strict=True)]


def picture(content):
    return np.array(Image.open(io.BytesIO(content)))


def test_patches_are_those_of_a_loop(shards):
    folder, tokens, images, files = shards
    describe_patches(folder / "patches.parquet", *files, codes=CODES)
    rows = read_table(folder / "patches.parquet").to_pylist()
    of_code = defaultdict(list)
    for grid, image in zip(tokens.tolist(), images, strict=True):
        for place, code in enumerate(grid):
            top, left = 4 * (place // 3), 2 * (place % 3)
            of_code[code].append(image[top : top + 4, left : left + 2])
    assert rows[4] == {
        "token": 4, "contexts": 0, "spread": None, "patch": None, "patch_mean": None, "patch_spread": None,
    }  # fmt: skip
    for code, cut in of_code.items():
        every, row = np.stack(cut).astype(float), rows[code]
        assert (row["token"], row["contexts"]) == (code, len(cut))
        assert row["spread"] == pytest.approx(np.sqrt(every.var(0).mean()))
        assert np.abs(picture(row["patch_mean"]) - every.mean(0)).max() <= 0.5
        assert np.abs(picture(row["patch_spread"]) - every.std(0)).max() <= 0.5 + 1e-9
        closest = ((every - every.mean(0)) ** 2).sum((1, 2, 3)).argmin()
        assert (picture(row["patch"]) == cut[closest]).all()


@pytest.fixture
def described(shards, packed):
    """The table of codes of two classes, with patches; its files."""
    folder, tokens, _, files = shards
    describe_patches(folder / "patches.parquet", *files, codes=CODES)
    np.save(folder / "grids.npy", packed([0, 0, 1, 1, 1], tokens.reshape(5, 2, 3)))
    vectors = torch.arange(CODES).float()[:, None].repeat(1, 2) ** 2
    write_weights(folder / "codebook.safetensors", {"codebook": vectors}, {})
    paths = [folder / name for name in ("codes.parquet", "grids.npy", "codebook.safetensors", "patches.parquet")]
    describe_codes(*paths, nearest=2, settings=Kinds(least_share=0.8))
    return paths, tokens


def test_places_are_those_of_a_loop(described):
    paths, tokens = described
    table = read_table(paths[0])
    assert table.schema.metadata[b"cortex.grid"] == b"2x3"
    for code, row in enumerate(table.to_pylist()):
        places = [place for grid in tokens.tolist() for place, token in enumerate(grid) if token == code]
        assert (row["token"], row["count"]) == (code, len(places))
        assert row["heat"] == [places.count(place) for place in range(6)]
        assert row["images"] == sum(code in grid for grid in tokens.tolist())
        assert row["share"] == pytest.approx(len(places) / 30)
        assert (row["patch"] is None) == (row["row"] is None) == (not places)
        if places:
            assert row["row"] == pytest.approx(np.mean([place // 3 for place in places]))
            assert row["column"] == pytest.approx(np.mean([place % 3 for place in places]))
    assert table["nearest"][:3].to_pylist() == [[1, 2], [0, 2], [1, 0]]  # of squares: 1 is 3 from 4, 0 is 4 from it
    assert table["distances"][0].as_py() == pytest.approx([np.sqrt(2), 4 * np.sqrt(2)])
    assert table["kind"][4].as_py() == "hardly used"


def test_patches_of_another_codebook_are_refused(described):
    paths, _ = described
    write_table(paths[3], read_table(paths[3]).slice(1))
    with pytest.raises(InputError, match=r"patches.parquet: patches of 5 codes; .*codebook.safetensors has 6"):
        describe_codes(*paths, nearest=2, settings=Kinds())


def test_a_run_without_images_has_no_patches(described):
    paths, _ = described
    describe_codes(*paths[:3], nearest=9, settings=Kinds())
    table = read_table(paths[0])
    assert "patch" not in table.column_names and "heat" in table.column_names
    assert [len(near) for near in table["nearest"].to_pylist()] == [5] * CODES, "as many as there are"


def test_tokens_of_several_scales_have_no_row_and_column(described, packed):
    """Grids of one row: a token of scale 1, which has one position, and four of scale 2, in three codes each."""
    paths, _ = described
    np.save(paths[1], packed([0, 1], np.array([[[0, 3, 4, 3, 5]], [[1, 5, 5, 3, 4]]])))
    describe_codes(*paths[:3], scales=(1, 2), nearest=8, settings=Kinds())
    rows = read_table(paths[0]).to_pylist()
    assert {(row["row"], row["column"]) for row in rows} == {(None, None)}
    assert [set(row["nearest"]) for row in rows] == [{1, 2}, {0, 2}, {0, 1}, {4, 5}, {3, 5}, {3, 4}]
    assert rows[3]["heat"] == [0, 1, 0, 2, 0]


def test_mean_importance_is_that_of_a_loop(tmp_path):
    rng = np.random.default_rng(0)
    keys, labels, tokens = ["a", "b", "c"], np.array([0, 2, 2]), rng.integers(0, 3, (3, 4)).astype(np.uint16)
    of_pair, paths = defaultdict(list), []
    for training in range(2):
        scores = rng.normal(size=(3, 4)).astype(np.float32) * (1 + 9 * training)
        paths.append(tmp_path / f"{training}.parquet")
        write_tokens(paths[-1], Tokens(keys, labels, tokens, (2, 2), {"importance": scores}))
        for label, grid, of_image in zip(labels.tolist(), tokens.tolist(), scores.astype(float), strict=True):
            for token, score in zip(grid, of_image / of_image.std(), strict=True):
                of_pair[label, token].append(score)
    mean_importance(tmp_path / "mean.parquet", paths, codes=3)
    rows = read_table(tmp_path / "mean.parquet").to_pylist()
    assert [(row["label"], row["token"]) for row in rows] == sorted(of_pair)
    assert [row["importance"] for row in rows] == pytest.approx([np.mean(of_pair[pair]) for pair in sorted(of_pair)])

"""The token table: what is written is what is read, or one line names the file and what is wrong with it."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import GRID, Tokens, iterate_tokens, read_shard_tokens, read_tokens, write_tokens


def images(count=5, shape=(2, 3), seed=0, **scores):
    rng = np.random.default_rng(seed)
    return Tokens(
        [f"test-{seed}-{number}" for number in range(count)],
        rng.integers(0, 4, count),
        rng.integers(0, 65536, (count, shape[0] * shape[1])).astype(np.uint16),
        shape,
        {name: rng.normal(size=(count, shape[0] * shape[1])).astype(np.float32) for name in scores},
    )


@pytest.fixture
def written(tmp_path):
    """A table of five images with scores."""
    tokens = images(importance=True)
    write_tokens(tmp_path / "000000.parquet", tokens)
    return tmp_path / "000000.parquet", tokens


def assert_same(found, expected):
    assert found.keys == expected.keys
    assert found.shape == expected.shape
    for name in ("labels", "tokens", "grids"):
        one, other = getattr(found, name), getattr(expected, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@st.composite
def tables(draw):
    """Images of a random grid, with two columns of scores, NaN and infinity among them."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    keys = draw(st.lists(st.text(max_size=8), min_size=1, max_size=6, unique=True))
    positions = shape[0] * shape[1]

    def rows(element):
        return [draw(st.lists(element, min_size=positions, max_size=positions)) for _ in keys]

    return Tokens(
        keys,
        np.array([draw(st.integers(0, 65535)) for _ in keys]),
        np.array(rows(st.integers(0, 65535)), np.uint16),
        shape,
        {name: np.array(rows(st.floats(width=32)), np.float32) for name in ("importance", "other")},
    )


@pytest.mark.slow
@given(tables())
def test_any_images_come_back_to_the_last_bit(tmp_path_factory, expected):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    write_tokens(path, expected)
    found = read_tokens(path, ["other", "importance"], codes=65536)
    assert_same(found, expected)
    assert list(found.scores) == ["other", "importance"]
    for name, values in found.scores.items():
        assert values.tobytes() == expected.scores[name].tobytes()
    assert read_tokens(path, like=expected).scores == {}


def test_the_columns_are_those_that_the_format_states(written):
    path, tokens = written
    write_tokens(path, tokens, {"predicted": pa.array([3, 1, 2, 0, 1], pa.int32())})
    schema = pq.read_schema(path)
    assert dict(zip(schema.names, schema.types, strict=True)) == {
        "key": pa.string(),
        "label": pa.int32(),
        "tokens": pa.list_(pa.uint16(), 6),
        "predicted": pa.int32(),
        "importance": pa.list_(pa.float32(), 6),
    }
    assert schema.metadata[GRID.encode()] == b"2x3"
    assert read_table(path)["predicted"].to_pylist() == [3, 1, 2, 0, 1]


def test_a_shard_becomes_the_table_of_its_samples(tmp_path):
    rng = np.random.default_rng(0)
    samples = [
        Sample(f"test-{number}", 9 - number, rng.integers(0, 7, (3, 2)).astype(np.uint16)) for number in range(4)
    ]
    write_shard(tmp_path / "000000.tar", samples)
    read_shard_tokens(tmp_path / "000000.parquet", tmp_path / "000000.tar", codes=7)
    found = read_tokens(tmp_path / "000000.parquet")
    assert (found.keys, found.labels.tolist(), found.shape) == ([s.key for s in samples], [9, 8, 7, 6], (3, 2))
    np.testing.assert_array_equal(found.grids, [sample.grid for sample in samples])
    with pytest.raises(InputError, match=r"000000\.tar: member test-\d\.tokens\.npy: token 6; allowed: 0 to 5"):
        read_shard_tokens(tmp_path / "other.parquet", tmp_path / "000000.tar", codes=6)
    assert not (tmp_path / "other.parquet").exists()


def test_several_tables_are_read_one_after_another(written, tmp_path):
    path, first = written
    second = images(3, seed=1, importance=True)
    write_tokens(tmp_path / "000001.parquet", second)
    found = read_tokens([path, tmp_path / "000001.parquet"], ["importance"])
    assert found.keys == first.keys + second.keys
    np.testing.assert_array_equal(found.labels, [*first.labels, *second.labels])
    np.testing.assert_array_equal(found.tokens, [*first.tokens, *second.tokens])
    np.testing.assert_array_equal(
        found.scores["importance"], [*first.scores["importance"], *second.scores["importance"]]
    )
    parts = list(iterate_tokens([path, tmp_path / "000001.parquet"]))
    assert [part.path.name for part in parts] == ["000000.parquet", "000001.parquet"]
    for part, expected in zip(parts, (first, second), strict=True):
        assert_same(part, expected)


def test_rows_are_taken_with_all_that_belongs_to_them():
    tokens = images(importance=True)
    rows = tokens.rows_of(["test-0-3", "test-0-1"])
    assert rows.tolist() == [3, 1]
    taken = tokens.take(rows)
    assert (taken.keys, len(taken)) == (["test-0-3", "test-0-1"], 2)
    np.testing.assert_array_equal(taken.labels, tokens.labels[[3, 1]])
    np.testing.assert_array_equal(taken.tokens, tokens.tokens[[3, 1]])
    np.testing.assert_array_equal(taken.scores["importance"], tokens.scores["importance"][[3, 1]])
    with pytest.raises(InputError, match="tokens: no image 'elsewhere'"):
        tokens.rows_of(["test-0-3", "elsewhere"])


def test_the_first_images_of_every_class_are_in_their_order():
    tokens = images(7)
    tokens.labels[:] = [2, 0, 2, 1, 0, 2, 0]
    assert tokens.first(2, [0, 2]).tolist() == [0, 1, 2, 4]
    assert tokens.first(1).tolist() == [0, 1, 3]
    with pytest.raises(InputError, match=r"tokens: images by class: 1: 1, 5: 0; 2 of each are needed"):
        tokens.first(2, [0, 1, 5])


# --- what is refused ---------------------------------------------------------------------------------------------


def refused(path, *arguments, **options):
    """The one line that an error says of the file."""
    with pytest.raises(InputError) as error:
        read_tokens(path, *arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda tokens: tokens.keys.reverse(),
        lambda tokens: tokens.keys.__setitem__(0, "another"),
        lambda tokens: tokens.tokens.__setitem__((4, 5), 7),
        lambda tokens: tokens.labels.__setitem__(2, 9),
    ],
    ids=["order", "key", "token", "label"],
)
def test_other_images_are_refused_in_one_wording(written, change):
    path, tokens = written
    assert_same(read_tokens(path, like=tokens), tokens)
    change(tokens)
    assert refused(path, like=tokens) == f"{path}: not of the same images, in the same order, as tokens"


def test_other_shapes_and_numbers_of_images_are_other_images(written):
    path, tokens = written
    for other in (Tokens(tokens.keys, tokens.labels, tokens.tokens, (3, 2)), tokens.take([0, 1, 2, 3])):
        assert "not of the same images, in the same order, as tokens" in refused(path, like=other)


def test_a_token_outside_of_the_codebook_is_refused(written):
    path, tokens = written
    largest = int(tokens.tokens.max())
    key = tokens.keys[int(tokens.tokens.max(1).argmax())]
    assert refused(path, codes=largest) == f"{path}: '{key}': token {largest}; allowed: 0 to {largest - 1}"
    assert_same(read_tokens(path, codes=largest + 1), tokens)


def test_tables_that_do_not_go_together_are_refused(written, tmp_path):
    path, _ = written
    other = tmp_path / "000001.parquet"
    write_tokens(other, images(shape=(3, 2), seed=1))
    assert refused([path, other]) == f"{other}: grids of 3×2 tokens; those of {path} are of 2×3"
    assert refused([path, path]) == f"{tmp_path}: key 'test-0-0' appears twice; keys are unique"
    assert refused([]) == "no token tables"


def columns(**changes):
    table = {
        "key": pa.array(["a", "b"]),
        "label": pa.array([0, 1], pa.int32()),
        "tokens": pa.array([[0, 1], [2, 3]], pa.list_(pa.uint16(), 2)),
        "importance": pa.array([[0, 1], [2, 3]], pa.list_(pa.float32(), 2)),
    }
    return pa.table(table | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": pa.array([1, 2])}, "column key is of int64; in a token table it is of string without nulls"),
        ({"key": pa.array(["a", None])}, "column key is of string with nulls; .* string without nulls"),
        ({"label": pa.array([0, 1])}, "column label is of int64; in a token table it is of int32 without nulls"),
        ({"label": pa.array([0, None], pa.int32())}, "column label is of int32 with nulls"),
        ({"label": pa.array([0, -1], pa.int32())}, "labels -1 to 0; allowed: 0 to 65535"),
        ({"label": pa.array([65536, 1], pa.int32())}, "labels 1 to 65536; allowed: 0 to 65535"),
        ({"tokens": pa.array([0, 1], pa.uint16())}, r"column tokens is of uint16; .* lists of 2 uint16"),
        ({"tokens": pa.array([[0, 1], [2]], pa.list_(pa.uint16()))}, "column tokens is of list<"),
        ({"tokens": pa.array([[0, 1]] * 2, pa.list_(pa.int32(), 2))}, "column tokens is of fixed_size_list<.*int32"),
        ({"tokens": pa.array([[0]] * 2, pa.list_(pa.uint16(), 1))}, r"\[1\]; .* lists of 2 uint16 \(the grid's positi"),
        ({"tokens": pa.array([[0, 1], None], pa.list_(pa.uint16(), 2))}, "column tokens is of .* with nulls"),
        ({"tokens": pa.array([[0, 1], [2, None]], pa.list_(pa.uint16(), 2))}, "lists of 2 uint16 .* without nulls"),
        ({"importance": pa.array([[0.0, 1]] * 2, pa.list_(pa.float64(), 2))}, "column importance is of .*double"),
        ({"importance": pa.array([[0.0]] * 2, pa.list_(pa.float32(), 1))}, "column importance .* lists of 2 float"),
    ],
)
def test_wrong_columns_are_refused_by_name(tmp_path, changes, message):
    path = tmp_path / "wrong.parquet"
    write_table(path, columns(), {GRID: "1x2"})
    assert read_tokens(path, ["importance"]).keys == ["a", "b"]
    write_table(path, columns(**changes), {GRID: "1x2"})
    assert re.search(rf"wrong\.parquet: {message}|wrong\.parquet: .*{message}", refused(path, ["importance"]))


def test_missing_columns_and_images_are_named(tmp_path):
    path = tmp_path / "wrong.parquet"
    write_table(path, columns().drop_columns(["label"]), {GRID: "1x2"})
    assert "wrong.parquet: no column 'label'; it has 'key', 'tokens', 'importance'" in refused(path)
    write_table(path, columns(), {GRID: "1x2"})
    assert "wrong.parquet: no column 'saliency'" in refused(path, ["saliency"])
    write_table(path, columns().slice(0, 0), {GRID: "1x2"})
    assert refused(path) == f"{path}: holds no images"
    write_table(path, columns(key=pa.array(["a", "a"])), {GRID: "1x2"})
    assert refused(path) == f"{path}: key 'a' appears twice; keys are unique"


@pytest.mark.parametrize("stated", [None, "", "x", "12", "1x", "1x2x3", "0x2", "-1x2", "1×2", "٣x2", "9" * 5000 + "x1"])
def test_a_table_that_states_no_shape_is_refused(tmp_path, stated):
    path = tmp_path / "wrong.parquet"
    write_table(path, columns(), {} if stated is None else {GRID: stated})
    assert refused(path) == (
        f"{path}: not a token table: its metadata states no shape of the grid (cortex.grid, as 16x16)"
    )


@pytest.mark.parametrize("stated", ["1x3", "4x4"])
def test_another_shape_than_that_of_the_tokens_is_refused(tmp_path, stated):
    path = tmp_path / "wrong.parquet"
    write_table(path, columns(), {GRID: stated})
    assert re.search(r"wrong\.parquet: column tokens is of .*\[2\]; in a token table it is of lists of", refused(path))


def test_a_file_that_is_cut_or_changed_is_refused_by_name(written, tmp_path):
    path, _ = written
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.parquet"
    for length in range(0, len(whole), 23):
        damaged.write_bytes(whole[:length])
        assert "damaged.parquet: " in refused(damaged, ["importance"])
    assert "none.parquet: no such Parquet file" in refused(tmp_path / "none.parquet")
    data = whole.index(b"PAR1", 0) + 4
    for place in range(data, data + 40):  # of the first page: its header, or data under a checksum
        damaged.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert "damaged.parquet: " in refused(damaged, ["importance"])

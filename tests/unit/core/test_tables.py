"""Parquet tables: what they say of their origin, who can read them, and what damage is told."""

import json
import re
import subprocess
import sys
from importlib import metadata

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cortex
from cortex.core import provenance
from cortex.core.errors import InputError
from cortex.core.tables import read_table, write_table

# One column of every type that the outputs have.
TABLE = pa.table(
    {
        "key": ["test-0000-000000", "test-0001-000000"],
        "label": pa.array([0, 1], pa.int32()),
        "importance": pa.array([[0.5, -1.0], [2.0, 0.0]], pa.list_(pa.float32(), 2)),
        "positions": pa.array([[1, 2, 3], []], pa.list_(pa.uint16())),
        "logit": pa.array([1.25, None], pa.float64()),
    }
)


@pytest.fixture
def stated(monkeypatch):
    """What the Snakefile states of a run, for as long as a test runs."""
    stated = {"run": "digits", "seed": 3, "config_sha256": "c0ffee", "git_commit": "abc-dirty"}
    monkeypatch.setenv(provenance.VARIABLE, json.dumps(stated))
    provenance.provenance.cache_clear()
    yield stated
    provenance.provenance.cache_clear()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.parquet"
    write_table(path, TABLE)
    return path


# --- provenance --------------------------------------------------------------------------------------------------


def origin(path):
    return {key.decode(): value.decode() for key, value in pq.read_schema(path).metadata.items()}


def test_a_table_says_where_it_came_from(stated, path):
    found = origin(path)
    assert {key: found[f"cortex.{key}"] for key in stated} == {
        "run": "digits",
        "seed": "3",
        "config_sha256": "c0ffee",
        "git_commit": "abc-dirty",
    }
    assert found["cortex.cortex"] == cortex.__version__
    packages = json.loads(found["cortex.packages"])
    for package in ("torch", "numpy", "pyarrow", "webdataset", "taming-transformers", "snakemake"):
        assert packages[package] == metadata.version(package)
    assert packages["python"] == sys.version.split()[0]


def test_what_is_not_known_is_not_stated(stated, monkeypatch, tmp_path):
    monkeypatch.setenv(provenance.VARIABLE, json.dumps(stated | {"git_commit": None}))
    write_table(tmp_path / "table.parquet", TABLE)
    assert "cortex.git_commit" not in origin(tmp_path / "table.parquet")


def test_a_stage_run_by_hand_states_packages_only(stated, monkeypatch, tmp_path):
    monkeypatch.delenv(provenance.VARIABLE)
    write_table(tmp_path / "table.parquet", TABLE)
    assert {key for key in origin(tmp_path / "table.parquet") if key.startswith("cortex.")} == {
        "cortex.cortex",
        "cortex.packages",
    }


def test_the_git_commit_is_that_checked_out_and_says_if_files_differ(tmp_path, monkeypatch, caplog):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert provenance.git_commit(str(tmp_path)) is None
    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message=one")
    commit = git("rev-parse", "HEAD")
    assert re.fullmatch("[0-9a-f]{40}", commit)
    assert provenance.git_commit(str(tmp_path)) == commit
    git("tag", "--annotate", "--message=one", "v1")
    assert provenance.git_commit(str(tmp_path)) == commit, "the commit, not a tag"
    (tmp_path / "file").write_text("two")
    assert provenance.git_commit(str(tmp_path)) == f"{commit}-dirty"
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container
    assert provenance.git_commit(str(tmp_path)) == f"{commit}-dirty"
    assert not caplog.records
    (tmp_path / ".git" / "config").write_text("[core")
    assert provenance.git_commit(str(tmp_path)) is None
    assert "the git commit is not recorded: " in caplog.text and "config" in caplog.text


# --- other readers -----------------------------------------------------------------------------------------------


def test_pandas_polars_and_duckdb_read_what_was_written(path):
    expected = TABLE.to_pylist()
    assert read_table(path).to_pylist() == expected
    assert pl.read_parquet(path).to_dicts() == expected
    relation = duckdb.sql(f"select * from '{path}'")
    rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    assert [row | {"importance": list(row["importance"])} for row in rows] == expected
    frame = pd.read_parquet(path)
    assert list(frame.columns) == TABLE.column_names and len(frame) == 2
    assert np.array_equal(np.stack(frame["importance"]), [[0.5, -1.0], [2.0, 0.0]])


def test_chosen_columns_are_read_alone(path):
    assert read_table(path, ["logit", "key"]).column_names == ["logit", "key"]


# --- damage ------------------------------------------------------------------------------------------------------


def test_a_missing_file_and_a_missing_column_are_named(path, tmp_path):
    with pytest.raises(InputError, match=r"none\.parquet: no such Parquet file"):
        read_table(tmp_path / "none.parquet")
    with pytest.raises(InputError, match=r"table\.parquet: no column 'rank', 'top_n'; it has 'key', "):
        read_table(path, ["key", "top_n", "rank"])


def test_a_table_cut_anywhere_is_named(path):
    whole = path.read_bytes()
    for length in (*range(1, len(whole), 37), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"table\.parquet: not a whole Parquet file"):
            read_table(path)


def test_a_bit_flipped_in_the_data_is_found(path):
    """Pages have checksums; the schema at the end of the file has none, but then a name or a number is wrong."""
    whole = path.read_bytes()
    end_of_data = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    outcomes = {"refused": 0, "harmless": 0}
    for place in range(4, end_of_data):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(flipped)
        try:
            table = read_table(path)
        except InputError:
            outcomes["refused"] += 1
        else:
            outcomes["harmless"] += 1
            assert table.equals(TABLE)
    assert outcomes["refused"] > outcomes["harmless"]


def test_a_column_whose_name_is_no_text_is_told(path):
    path.write_bytes(path.read_bytes().replace(b"label", b"\xffabel"))
    with pytest.raises(InputError, match=r"table\.parquet: not a whole Parquet file"):
        read_table(path)


@settings(max_examples=100)
@given(data=st.data())
def test_any_damage_gives_a_table_or_an_error_of_one_line(data, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    write_table(path, TABLE)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        first = data.draw(st.integers(0, len(content)))
        last = first + data.draw(st.integers(0, 9))
        content[first:last] = data.draw(st.binary(max_size=9))
    path.write_bytes(content)
    refusal = None
    try:
        assert read_table(path).schema is not None
    except InputError as error:
        refusal = str(error)
    assert refusal is None or (refusal.startswith(f"{path}: not a") and len(refusal.splitlines()) == 1)


@given(content=st.binary(max_size=100) | st.binary(max_size=100).map(lambda middle: b"PAR1" + middle + b"PAR1"))
def test_any_bytes_in_place_of_a_table_are_an_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"any\.parquet: (not a|not a whole|an empty file; expected:|expected:) Parquet file"
    ):
        read_table(path)


def test_a_failing_write_leaves_the_old_table(path, monkeypatch):
    before = path.read_bytes()

    def full_disk(table, where, **settings):
        where.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_table(path, TABLE)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "twice.parquet"
    pq.write_table(pa.table([[1], [2], [3]], names=["key", "label", "label"]), path)
    for columns in (None, ["key", "label"]):
        with pytest.raises(InputError, match=r"twice\.parquet: several columns 'label'; allowed: one of each name"):
            read_table(path, columns)
    assert read_table(path, ["key"]).column_names == ["key"]

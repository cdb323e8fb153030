"""The manifest decides which shards are a run's."""

import pyarrow as pa
import pytest

from cortex.core.errors import InputError
from cortex.core.tables import write_table
from cortex.data.manifest import SCHEMA, read_manifest, shards_of
from tests.manifests import list_shards

ROW = {"split": "test", "shard": 0, "path": "test/000000.tar", "samples": 1, "bytes": 10, "sha256": "0"}


def test_shards_are_those_of_the_manifest_in_order(tmp_path):
    list_shards(tmp_path, ["train/000010", "test/000000", "train/000002"])
    assert shards_of(tmp_path, "train") == ["000002", "000010"]
    with pytest.raises(InputError, match=r"manifest\.parquet: no shard of the split 'validation'"):
        shards_of(tmp_path, "validation")


def test_a_run_without_a_manifest_is_named(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.parquet: no such Parquet file"):
        shards_of(tmp_path, "test")


@pytest.mark.parametrize(
    "change", [{"path": "../test/000000.tar"}, {"path": "/test/0.tar"}, {"path": "train/000000.tar"}, {"split": None}]
)
def test_what_is_no_manifest_is_refused(tmp_path, change):
    path = tmp_path / "manifest.parquet"
    write_table(path, pa.Table.from_pylist([ROW], SCHEMA))
    assert read_manifest(path) == [ROW]
    write_table(path, pa.Table.from_pylist([ROW | change], SCHEMA))
    with pytest.raises(InputError, match=r"manifest\.parquet: (not a manifest|shard .* no path of a shard)"):
        read_manifest(path)


def test_another_table_is_no_manifest(tmp_path):
    path = tmp_path / "manifest.parquet"
    write_table(path, pa.table({name: [1] for name in SCHEMA.names}))
    with pytest.raises(InputError, match="not a manifest"):
        read_manifest(path)

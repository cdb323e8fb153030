"""All grids of a split as one array, and the manifest of all shards."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cortex.core.errors import InputError
from cortex.core.tables import read_table
from cortex.data.manifest import write_manifest
from cortex.data.packed import pack_grids, read_packed
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from tests.tables import write_samples


def samples(count, grid=(16, 16), first=0):
    random = np.random.default_rng(first)
    return [
        Sample(f"train-{n:04d}-000000", label=n * 65535 // 99, grid=random.integers(0, 65536, grid).astype(np.uint16))
        for n in range(first, first + count)
    ]


@pytest.fixture
def data(tmp_path):
    """A data folder of two train shards, of 3 and 2 samples, with their token tables, and a test shard of 1."""
    for name, content in (("000000", samples(3)), ("000001", samples(2, first=3))):
        write_shard(tmp_path / "train" / f"{name}.tar", content)
        write_samples(tmp_path / "train" / f"{name}.parquet", content)
    write_shard(tmp_path / "test" / "000000.tar", samples(1, first=99))
    return tmp_path


def pack(folder, codes=65536):
    pack_grids(folder / "grids.npy", sorted((folder / "train").glob("*.parquet")), codes=codes)
    return folder / "grids.npy"


# --- packed grids ------------------------------------------------------------------------------------------------


def test_packed_grids_are_those_of_the_shards_in_their_order(data):
    packed = read_packed(pack(data))
    assert len(packed) == 5
    for record, sample in zip(packed, samples(3) + samples(2, first=3), strict=True):
        assert record["label"] == sample.label
        assert np.array_equal(record["grid"], sample.grid)


def test_an_image_takes_514_bytes_at_paper_scale_and_is_mapped_not_read(data):
    path = pack(data)
    packed = read_packed(path)
    assert isinstance(packed, np.memmap) and not packed.flags.writeable
    assert packed.dtype.itemsize == 2 + 2 * 16 * 16 == 514
    assert packed.offset == path.stat().st_size - 5 * 514 <= 256, "a header, then nothing but records"
    assert np.array_equal(np.load(path), packed), "any NumPy reads the file"


def test_a_packed_file_cut_anywhere_is_refused_by_name(data):
    path = pack(data)
    whole = path.read_bytes()
    for length in (*range(1, 300, 7), 128 + 514, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"grids\.npy: not a whole npy file"):
            read_packed(path)


@given(content=st.binary(max_size=200) | st.binary(max_size=200).map(b"\x93NUMPY\x01\x00\x50\x00".__add__))
def test_any_bytes_in_place_of_packed_grids_are_an_error(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"any\.npy: (not |(an empty file; )?expected: npy file)"):
        read_packed(path)


@pytest.mark.parametrize(
    "other",
    [
        np.zeros(5, np.uint16),
        np.zeros(5, [("label", "<u2"), ("grid", "<u2", 4)]),
        np.zeros(5, [("label", "<u2"), ("grid", "<i4", (4, 4))]),
        np.zeros((5, 1), [("label", "<u2"), ("grid", "<u2", (4, 4))]),
        np.zeros(5, [("label", "<u2"), ("tokens", "<u2", (4, 4))]),
        np.zeros(5, [("label", "O"), ("grid", "<u2", (4, 4))]),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)
def test_another_array_is_refused(other, tmp_path):
    path = tmp_path / "other.npy"
    np.save(path, other)
    with pytest.raises(InputError, match=r"other\.npy: not "):
        read_packed(path)


def test_missing_packed_grids_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npy: no such file of packed grids"):
        read_packed(tmp_path / "none.npy")


def test_a_token_outside_the_codebook_is_named_and_nothing_written(data):
    largest = max(int(sample.grid.max()) for sample in samples(3) + samples(2, first=3))
    with pytest.raises(InputError, match=rf"00000\d\.parquet: 'train-\d+-000000': token {largest};"):
        pack(data, codes=largest)
    assert not (data / "grids.npy").exists()
    assert len(read_packed(pack(data, codes=largest + 1))) == 5


def test_shards_of_different_grids_are_not_packed_together(data):
    write_samples(data / "train" / "000002.parquet", samples(1, grid=(8, 8), first=50))
    with pytest.raises(InputError, match=r"000002\.parquet: grids of 8×8 tokens; those of .*000000\.parquet are of 16"):
        pack(data)
    with pytest.raises(InputError, match="no token tables"):
        pack_grids(data / "grids.npy", [], codes=2)
    assert not (data / "grids.npy").exists()


# --- manifest ----------------------------------------------------------------------------------------------------


def test_the_manifest_lists_every_shard_with_its_samples_size_and_checksum(data):
    shards = [data / "train" / "000000.tar", data / "train" / "000001.tar", data / "test" / "000000.tar"]
    write_manifest(data / "manifest.parquet", shards)
    expected = []
    for shard, samples_in_it in zip(shards, (3, 2, 1), strict=True):
        split, name = shard.parent.name, shard.name
        content = shard.read_bytes()
        expected.append(
            {
                "split": split,
                "shard": int(name[:6]),
                "path": f"{split}/{name}",
                "samples": samples_in_it,
                "bytes": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    assert read_table(data / "manifest.parquet").to_pylist() == expected
    assert all((data / row["path"]).is_file() for row in expected), "paths are relative to the manifest"


def test_no_manifest_is_written_of_a_damaged_missing_or_misnamed_shard(data):
    whole = data / "train" / "000000.tar"
    cut = data / "train" / "000007.tar"
    cut.write_bytes(whole.read_bytes()[:2000])
    (data / "train" / "last.tar").write_bytes(whole.read_bytes())
    for name, message in (("000007", "000007.tar: "), ("000008", "no such shard"), ("last", "its number")):
        with pytest.raises(InputError, match=message):
            write_manifest(data / "manifest.parquet", [whole, data / "train" / f"{name}.tar"])
    assert not (data / "manifest.parquet").exists()

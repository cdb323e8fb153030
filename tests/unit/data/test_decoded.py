"""A shard's images, decoded once for all judges: what is read is what was stored, or an error that names it."""

import numpy as np
import pytest

from cortex.core.errors import InputError
from cortex.data.decoded import decode_images, decoded_of, decoded_rows, read_decoded
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard
from cortex.data.tokens import read_shard_tokens, read_tokens


@pytest.fixture
def shard(tmp_path):
    """A tar of five images, and what they are."""
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3)).astype(np.uint8)
    samples = [
        Sample(f"test-{number}", number, np.full((2, 2), number, np.uint16), picture)
        for number, picture in enumerate(pictures)
    ]
    write_shard(tmp_path / "000000.tar", samples)
    return tmp_path / "000000.tar", samples


def tokens_of(path):
    """The token table of a shard, read."""
    read_shard_tokens(path.with_suffix(".parquet"), path, codes=5)
    return read_tokens(path.with_suffix(".parquet"))


def test_images_are_those_of_the_shard_in_its_order(shard, tmp_path):
    path, samples = shard
    decode_images(tmp_path / "images" / "000000.npy", path)
    found = decoded_of(tokens_of(path), tmp_path / "images" / "000000.npy")
    np.testing.assert_array_equal(found, np.stack([sample.image for sample in samples]))
    np.testing.assert_array_equal(found, np.load(tmp_path / "images" / "000000.npy", allow_pickle=False))


def test_what_is_written_to_them_does_not_reach_the_file(shard, tmp_path):
    path, samples = shard
    decode_images(tmp_path / "images.npy", path)
    read_decoded(tmp_path / "images.npy")[:] = 0
    np.testing.assert_array_equal(read_decoded(tmp_path / "images.npy")[2], samples[2].image)


def test_images_of_some_rows_come_from_the_arrays_of_all_shards(shard, tmp_path):
    path, samples = shard
    paths = []
    for number, part in enumerate((samples[:2], samples[2:])):
        write_shard(tmp_path / f"{number}.tar", part)
        decode_images(tmp_path / f"{number}.npy", tmp_path / f"{number}.tar")
        paths.append(tmp_path / f"{number}.npy")
    images = tokens_of(path)
    rows = images.rows_of(["test-3", "test-1", "test-4", "test-0", "test-2"])
    for picture, row in zip(decoded_rows(images, paths, rows), rows, strict=True):
        np.testing.assert_array_equal(picture, samples[row].image)
    with pytest.raises(InputError, match=r": 3 images; .*000000.parquet has 5"):
        decoded_rows(images, paths[1:], rows)
    with pytest.raises(InputError, match=r"missing.npy: no such file of decoded images"):
        decoded_rows(images, [*paths, tmp_path / "missing.npy"], rows)
    np.save(paths[1], np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"1.npy: images of 8×8 pixels; those of .*0.npy have 6×8"):
        decoded_rows(images, paths, rows)


def test_images_of_several_sizes_are_refused_and_nothing_is_left(shard, tmp_path):
    path, samples = shard
    samples[3].image = np.zeros((8, 8, 3), np.uint8)
    write_shard(path, samples)
    with pytest.raises(InputError, match=r"000000.tar: image of test-3: 8×8 pixels; those before it have 6×8"):
        decode_images(tmp_path / "images.npy", path)
    assert not list(tmp_path.glob("*images*"))


def test_a_shard_without_images_is_refused(shard, tmp_path):
    path, samples = shard
    samples[4].image = None
    write_shard(path, samples)
    with pytest.raises(InputError, match=r"000000.tar: member test-4.png is missing"):
        decode_images(tmp_path / "images.npy", path)


def test_an_array_that_is_not_the_shards_is_refused_by_name(shard, tmp_path):
    path, _ = shard
    images = tmp_path / "images.npy"
    decode_images(images, path)
    with pytest.raises(InputError, match=r"images.npy: 5 images; .*000000.parquet has 4"):
        decoded_of(tokens_of(path).take(range(4)), images)
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"images.npy: not a whole npy file"):
        read_decoded(images)
    np.save(images, np.zeros((5, 8, 6), np.uint8))
    with pytest.raises(InputError, match=r"images.npy: uint8 \[5, 8, 6\]: not decoded images"):
        read_decoded(images)

"""A shard's images, decoded once for all judges: what is read is what was stored, or an error that names it."""

import numpy as np
import pytest

from cortex.core.errors import InputError
from cortex.data.decoded import decode_images, decoded_of, named_images, read_decoded
from cortex.data.shard_reader import Sample
from cortex.data.shard_writer import write_shard


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


def test_images_are_those_of_the_shard_in_its_order(shard, tmp_path):
    path, samples = shard
    decode_images(tmp_path / "images" / "000000.npy", path)
    found = decoded_of(path, 5, tmp_path / "images" / "000000.npy")
    np.testing.assert_array_equal(found, np.stack([sample.image for sample in samples]))
    np.testing.assert_array_equal(found, np.load(tmp_path / "images" / "000000.npy", allow_pickle=False))


def test_what_is_written_to_them_does_not_reach_the_file(shard, tmp_path):
    path, samples = shard
    decode_images(tmp_path / "images.npy", path)
    read_decoded(tmp_path / "images.npy")[:] = 0
    np.testing.assert_array_equal(read_decoded(tmp_path / "images.npy")[2], samples[2].image)


def test_images_are_found_by_their_keys_no_further_than_needed(shard, tmp_path):
    path, samples = shard
    decode_images(tmp_path / "000000.npy", path)
    shards, decoded = [path, tmp_path / "missing.tar"], [tmp_path / "000000.npy", tmp_path / "missing.npy"]
    found = named_images(shards, decoded, ["test-3", "test-1"])
    assert [sample.key for sample in found] == ["test-3", "test-1"]
    for sample, stored in zip(found, (samples[3], samples[1]), strict=True):
        np.testing.assert_array_equal(sample.image, stored.image)
        np.testing.assert_array_equal(sample.grid, stored.grid)
    with pytest.raises(InputError, match=r"missing.npy: no such file of decoded images"):
        named_images(shards, decoded, ["test-3", "elsewhere"])
    with pytest.raises(InputError, match="no image 'elsewhere'"):
        named_images(shards[:1], decoded[:1], ["test-3", "elsewhere"])


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
    with pytest.raises(InputError, match=r"images.npy: 5 images; .*000000.tar has 6"):
        decoded_of(path, 6, images)
    images.write_bytes(images.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"images.npy: not a whole npy file"):
        read_decoded(images)
    np.save(images, np.zeros((5, 8, 6), np.uint8))
    with pytest.raises(InputError, match=r"images.npy: uint8 \[5, 8, 6\]: not decoded images"):
        read_decoded(images)
    np.save(images, np.zeros((4, 8, 6, 3), np.uint8))
    with pytest.raises(InputError, match=r"images.npy: 4 images; .*000000.tar has more"):
        named_images([path], [images], ["test-4"])

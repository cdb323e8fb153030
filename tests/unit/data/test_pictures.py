"""Labelled pictures of one size: what is decoded, how it is cut and resized, and what is held out."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from cortex.core.errors import InputError
from cortex.data.digits import digit_images
from cortex.data.picture_sources import PictureSource, find_pictures
from cortex.data.pictures import BATCH, every_tenth, read_pictures, read_split
from tests.pictures import COLOURS, labelled, picture, png, samples, write_folders, write_table, write_tar


def source_of(*images, labels=None):
    """Pictures in memory: arrays, or the bytes of files."""
    labels = np.zeros(len(images), np.int64) if labels is None else np.asarray(labels)
    names = tuple(f"class {label}" for label in range(labels.max(initial=0) + 1))
    return PictureSource("memory", labels, names, lambda: ((f"picture {n}", each) for n, each in enumerate(images)))


def photograph(height, width):
    """Smooth colours."""
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / 9), np.cos(columns / 7), np.sin((rows + columns) / 11)]
    return (127.5 + 127 * np.stack(waves, 2)).astype(np.uint8)


def lanczos(height_or_width, size, start, length):
    """Weights ``[size, n]`` by which Pillow resamples a stretch of one axis, from its definition."""
    scale = length / size
    weights = np.zeros((size, height_or_width))
    for place in range(size):
        centre = start + (place + 0.5) * scale
        pixels = np.arange(height_or_width)
        x = (pixels + 0.5 - centre) / max(scale, 1)
        inside = np.abs(x) < 3
        weights[place] = np.where(inside, np.sinc(x) * np.sinc(x / 3), 0)
        weights[place] /= weights[place].sum()
    return weights


@pytest.mark.parametrize(("height", "width", "size"), [(50, 80, 16), (64, 40, 24), (20, 20, 32), (37, 91, 8)])
def test_the_middle_square_is_resized_without_aliasing(tmp_path, height, width, size):
    """Against the separable filter, in floating point; Pillow rounds after each axis."""
    image, side = photograph(height, width), min(height, width)
    found = read_pictures(source_of(image), size, tmp_path).images[0]
    down = lanczos(height, size, (height - side) / 2, side)
    across = lanczos(width, size, (width - side) / 2, side)
    expected = np.einsum("yh,xw,hwc->yxc", down, across, image.astype(float)).clip(0, 255)
    assert found.shape == (size, size, 3)
    # Pillow's filter does not reach beyond the square; ours does, which the outermost pixels show.
    inner = slice(1 + size // 8, size - 1 - size // 8)
    assert np.abs(found[inner, inner] - expected[inner, inner]).max() <= 2


def test_fine_stripes_become_grey_instead_of_aliasing(tmp_path):
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 255
    found = read_pictures(source_of(stripes), 16, tmp_path).images
    assert np.abs(found.astype(int) - 127).max() <= 10


def test_pictures_of_the_size_stay_as_they_are(tmp_path):
    images = [picture(name, number, (8, 8)) for number, name in enumerate(COLOURS)]
    pictures = read_pictures(source_of(*map(png, images), labels=[0, 1, 0]), 8, tmp_path)
    assert np.array_equal(pictures.images, images)
    assert (pictures.labels.tolist(), pictures.class_names, len(pictures)) == ([0, 1, 0], ("class 0", "class 1"), 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_cameras_are_turned_upright(tmp_path, orientation):
    """By definition of the EXIF tag: which edges of the scene the first row and column show."""
    scene = photograph(24, 24)
    shown = {
        1: scene,
        2: scene[:, ::-1],
        3: scene[::-1, ::-1],
        4: scene[::-1],
        5: scene.transpose(1, 0, 2),
        6: np.rot90(scene),
        7: np.rot90(scene, 2).transpose(1, 0, 2),
        8: np.rot90(scene, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "all" / "scene").mkdir(parents=True)
    Image.fromarray(np.ascontiguousarray(shown)).save(tmp_path / "all" / "scene" / "a.png", exif=exif)
    found = read_pictures(find_pictures(str(tmp_path / "all")), 24, tmp_path).images[0]
    assert np.array_equal(found, scene)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "RGBA", "1"])
def test_pictures_of_every_mode_become_rgb(tmp_path, mode):
    grey = Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).convert(mode)
    folder = tmp_path / "all" / "grey"
    folder.mkdir(parents=True)
    grey.save(folder / ("a.jpg" if mode == "CMYK" else "a.png"))
    found = read_pictures(find_pictures(str(tmp_path / "all")), 8, tmp_path).images
    assert found.shape == (1, 8, 8, 3) and found.min() >= 250


def test_the_first_wrong_picture_is_named_and_nothing_is_written(tmp_path):
    right, wrong = png(picture("red", 0)), b"GIF89a"
    source = source_of(*[right] * (BATCH + 3), wrong, right, wrong)
    with pytest.raises(InputError, match=rf"^picture {BATCH + 3}: not an image; allowed: png, jpeg, webp, tiff$"):
        read_pictures(source, 8, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("labels", [2, 4])
def test_a_source_that_changes_meanwhile_is_refused(tmp_path, labels):
    source = source_of(*[picture("red", 0)] * 3, labels=np.zeros(labels, np.int64))
    with pytest.raises(InputError, match=rf"memory: changed while it was read: {labels} labels, 3 pictures"):
        read_pictures(source, 8, tmp_path)


@pytest.mark.slow
def test_memory_is_bounded_by_a_batch(tmp_path):
    """Of 300 pictures of 1.2 MB each, decoded, no more than those of a batch and of its threads are in memory."""
    content = png(photograph(640, 640))
    source = source_of(*[content] * 300)
    tracemalloc.start()
    try:
        read_pictures(source, 8, tmp_path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2 * BATCH * 640 * 640 * 3


def test_the_digest_is_of_pictures_labels_and_names(tmp_path):
    images = [picture("red", number, (8, 8)) for number in range(3)]

    def digest(*images, labels=(0, 1, 0), size=8):
        return read_pictures(source_of(*images, labels=labels), size, tmp_path).digest

    one = digest(*images)
    assert digest(*map(png, images)) == one, "of what is decoded"
    renamed = source_of(*images, labels=[0, 1, 0])
    renamed = PictureSource("memory", renamed.labels, ("a", "b"), renamed.contents)
    others = {digest(*images[::-1]), digest(*images, labels=(0, 1, 1)), digest(*images, size=16)}
    others.add(read_pictures(renamed, 8, tmp_path).digest)
    assert len(others | {one}) == 5


# --- held-out pictures --------------------------------------------------------------------------------------------


def test_every_tenth_picture_of_each_class_is_held_out():
    labels = np.array([0] * 25 + [1] * 9 + [2] * 10)[np.random.default_rng(0).permutation(44)]
    seen, expected = {0: 0, 1: 0, 2: 0}, []
    for label in labels.tolist():
        seen[label] += 1
        expected.append(seen[label] % 10 == 0)
    assert every_tenth(labels).tolist() == expected
    assert np.bincount(labels[every_tenth(labels)]).tolist() == [2, 0, 1]


def test_a_tenth_is_split_off(tmp_path):
    images = [picture("red", number, (8, 8)) for number in range(23)]
    labels = [0, 1] * 10 + [0] * 3
    train, held_out = read_split(source_of(*images, labels=labels), None, 8, tmp_path)
    chosen = every_tenth(np.array(labels))
    assert np.array_equal(train.images, np.array(images)[~chosen])
    assert np.array_equal(held_out.images, np.array(images)[chosen])
    assert (len(train), held_out.labels.tolist()) == (21, [0, 1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held_out.part", "train.part"]


def test_too_few_pictures_to_split_are_refused(tmp_path):
    with pytest.raises(InputError, match="memory: fewer than 10 pictures of every class; no tenth to hold out"):
        read_split(source_of(*[picture("red", 0)] * 9), None, 8, tmp_path)


def test_held_out_pictures_of_another_source_are_matched_by_name(tmp_path):
    pictures = labelled()
    source = find_pictures(str(write_folders(tmp_path / "train", pictures)))
    apart = [pair for pair in pictures if pair[0] != "blue"]
    other = find_pictures(str(write_tar(tmp_path / "held_out.tar", samples(apart))))
    assert (source.class_names, other.class_names) == (("blue", "green", "red"), ("green", "red"))
    train, held_out = read_split(source, other, 8, tmp_path / "store")
    assert len(train) == len(pictures) and train.class_names == held_out.class_names == source.class_names
    assert [train.class_names[label] for label in held_out.labels] == [name for name, _ in apart]


def test_held_out_classes_that_are_not_learned_are_refused(tmp_path):
    source = find_pictures(str(write_folders(tmp_path / "train", labelled())))
    content = [png(picture("red", 0))] * 3
    other = find_pictures(str(write_table(tmp_path / "a.parquet", content, ["red", "Red", "crimson"])))
    told = r"a\.parquet: classes that .*train does not have: 'Red', 'crimson'; those are 'blue', 'green', 'red'"
    with pytest.raises(InputError, match=told):
        read_split(source, other, 8, tmp_path)


def test_the_digits_are_split_as_they_always_were(tmp_path):
    train, held_out = read_split(find_pictures("digits"), None, 32, tmp_path)
    assert np.bincount(train.labels).tolist() == [400] * 10 and np.bincount(held_out.labels).tolist() == [100] * 10
    for part, pictures in (("train", train), ("held_out", held_out)):
        images, labels = digit_images(part)
        assert np.array_equal(images, pictures.images) and np.array_equal(labels, pictures.labels)
    assert (train.images.min(), train.images.max(), train.images[:, :2].max()) == (0, 255, 0)
    assert not {image.tobytes() for image in train.images} & {image.tobytes() for image in held_out.images}


# --- progress -----------------------------------------------------------------------------------------------------


def test_progress_is_told_while_pictures_are_read(tmp_path, caplog):
    caplog.set_level("INFO")
    read_pictures(source_of(*[picture("red", 0)] * 5), 8, tmp_path)
    assert "reading memory: picture 5 of 5" in caplog.text

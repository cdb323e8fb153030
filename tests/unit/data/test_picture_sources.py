"""Labelled pictures of every form are read as what they are; what is wrong is told by file, member or row."""

import io
import json
import os
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset as wds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cortex.core.errors import InputError
from cortex.data.digits import CLASS_NAMES
from cortex.data.picture_sources import PictureSource, find_pictures, pictures_state, stated_classes
from cortex.data.pixels import decode_picture
from tests.pictures import (
    COLOURS,
    LABELS,
    labelled,
    picture,
    png,
    samples,
    write_arrow,
    write_folders,
    write_table,
    write_tar,
)

NAMES = tuple(COLOURS)
PICTURES = labelled()
INDEX = {name: str(number) for number, name in enumerate(NAMES)}


def found_in(source, class_names=None):
    """Class names and decoded pictures of a source, in its order."""
    pictures = find_pictures(str(source), class_names)
    decoded = [decode_picture(content, where) for where, content in pictures.contents()]
    assert len(decoded) == len(pictures) == len(pictures.labels)
    return [(pictures.class_names[label], image) for label, image in zip(pictures.labels, decoded, strict=True)]


def assert_same(found, expected):
    assert [name for name, _ in found] == [name for name, _ in expected]
    assert all(np.array_equal(one, other) for (_, one), (_, other) in zip(found, expected, strict=True))


def refused(source, class_names=None):
    """The one line that says what is wrong with labels or pictures."""
    with pytest.raises(InputError) as caught:
        found_in(source, class_names)
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.fixture
def names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("\n".join([*NAMES, "yellow"]))
    return path


# --- every form ---------------------------------------------------------------------------------------------------


def test_class_folders_are_read_by_class(tmp_path):
    root = write_folders(tmp_path / "all", PICTURES)
    (root / "LICENSE").write_text("MIT")
    (root / ".git").mkdir()
    (root / "red" / ".DS_Store").write_text("hidden")
    (root / "red" / "more").mkdir()
    (root / "red" / "more" / "z.png").write_bytes(png(picture("red", 50)))
    by_class = sorted(PICTURES, key=lambda pair: pair[0])
    assert_same(found_in(root), [*by_class, ("red", picture("red", 50))])
    assert stated_classes(str(root)) == NAMES


def test_a_tar_is_read_as_its_members_say(tmp_path):
    text = write_tar(tmp_path / "text.tar", samples(PICTURES))
    numbers = write_tar(tmp_path / "numbers.tar", samples(PICTURES, INDEX.get))
    assert_same(found_in(text), PICTURES)
    assert_same(found_in(numbers), [(INDEX[name], image) for name, image in PICTURES])
    assert stated_classes(str(text)) is None


def test_numbers_take_names_from_a_file(tmp_path, names):
    numbers = write_tar(tmp_path / "numbers.tar", samples(PICTURES, INDEX.get))
    assert_same(found_in(numbers, names), PICTURES)
    assert find_pictures(str(numbers), names).class_names == NAMES, "yellow does not occur"
    assert stated_classes(str(numbers), names) == (*NAMES, "yellow")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tars_of_webdataset_are_read(tmp_path):
    """Its writer states fractions of seconds, in extended headers; and it reads the same pictures."""
    path = tmp_path / "000000.tar"
    with wds.TarWriter(str(path)) as tar:
        for number, (name, image) in enumerate(PICTURES):
            tar.write({"__key__": f"train/{number}", "png": image, "cls": NAMES.index(name), "json": {"x": number}})
    with tarfile.open(path) as tar:
        assert all(member.pax_headers for member in tar)
    assert_same(found_in(path), [(INDEX[name], image) for name, image in PICTURES])
    theirs = wds.WebDataset(str(path), shardshuffle=False).decode("rgb8").to_tuple("png", "cls")
    assert_same(found_in(path), [(str(label), image) for image, label in theirs])


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["straße/" * 20, "a/" * 70, "./", ""])
def test_long_and_foreign_names_keep_their_samples_apart(tmp_path, kind, folder):
    members = [(f"{folder}{name}", content) for name, content in samples(PICTURES)]
    with tarfile.open(tmp_path / "long.tar", "w", format=kind, pax_headers={"comment": "all of them"}) as tar:
        for name, content in [("folder", None), *members]:
            info = tarfile.TarInfo(name)
            info.size = len(content or b"")
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            tar.addfile(info, io.BytesIO(content or b""))
    assert_same(found_in(tmp_path / "long.tar"), PICTURES)


def test_a_folder_of_tars_or_tables_is_read_file_by_file(tmp_path):
    for folder in ("tars", "tables"):
        (tmp_path / folder).mkdir()
    for number, part in enumerate((PICTURES[:5], PICTURES[5:])):
        write_tar(tmp_path / "tars" / f"{number}.tar", samples(part))
        images = [png(image) for _, image in part]
        write_table(tmp_path / "tables" / f"{number}.parquet", images, [name for name, _ in part])
    assert_same(found_in(tmp_path / "tars"), PICTURES)
    assert_same(found_in(tmp_path / "tables"), PICTURES)


IMAGES = [png(image) for _, image in PICTURES]
STRUCTS = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(IMAGES)]


@pytest.mark.parametrize("images", [pa.array(IMAGES), pa.array(IMAGES, pa.large_binary()), pa.array(STRUCTS)])
@pytest.mark.parametrize("kind", ["numbers", "named numbers", "text", "dictionary"])
def test_tables_of_every_type_are_read(tmp_path, images, kind):
    text = pa.array([name for name, _ in PICTURES])
    labels = {"text": text, "dictionary": text.dictionary_encode()}.get(kind, pa.array(LABELS, pa.int8()))
    path = write_table(tmp_path / "a.parquet", images, labels, NAMES if kind == "named numbers" else None)
    expected = [(INDEX[name], image) for name, image in PICTURES] if kind == "numbers" else PICTURES
    assert_same(found_in(path), expected)
    assert stated_classes(str(path)) == (NAMES if kind == "named numbers" else None)


@pytest.mark.parametrize("stream", [True, False])
def test_a_folder_of_hugging_faces_datasets_is_read(tmp_path, stream):
    folder = tmp_path / "saved" / "train"
    folder.mkdir(parents=True)
    for name in ("state.json", "dataset_info.json"):
        (folder / name).write_text("{}")
    for number, rows in enumerate((slice(0, 7), slice(7, None))):
        path = folder / f"data-{number:05d}-of-00002.arrow"
        write_arrow(path, pa.array(STRUCTS[rows]), pa.array(LABELS[rows]), NAMES, stream=stream)
    write_arrow(folder / "cache-0123.arrow", [b"no picture"], [9])
    assert_same(found_in(folder), PICTURES)
    assert stated_classes(str(folder)) == NAMES
    (tmp_path / "saved" / "dataset_dict.json").write_text('{"splits": ["train"]}')
    assert refused(tmp_path / "saved").endswith("saved: several splits of a data set; name the folder of one: 'train'")


def test_a_picture_that_an_arrow_file_only_points_to_is_refused_by_row(tmp_path):
    rows = [*STRUCTS[:6], {"bytes": None, "path": "/etc/passwd"}]
    path = write_arrow(tmp_path / "a.arrow", pa.array(rows), LABELS[:7])
    assert refused(path) == f"{path}: row 7: nothing in image"


def test_classes_are_those_that_occur_in_the_order_of_their_numbers(tmp_path, names):
    path = write_table(tmp_path / "a.parquet", IMAGES[:4], [10, 2, 10, 2])
    source = find_pictures(str(path))
    assert (source.class_names, source.labels.tolist()) == (("2", "10"), [1, 0, 1, 0])
    path = write_table(tmp_path / "b.parquet", IMAGES[:4], ["10", "2", "x", "2"])
    assert find_pictures(str(path)).class_names == ("10", "2", "x"), "text, in the order of text"


def test_a_class_that_looks_like_an_option_is_refused(tmp_path):
    """Class names are words of a job's command."""
    path = write_table(tmp_path / "a.parquet", IMAGES[:2], ["cat", "--x; touch f"])
    assert refused(path) == f"{path}: class '--x; touch f': should not begin with a hyphen, as options do"
    (tmp_path / "names.txt").write_text("cat\n-dog\n")
    with pytest.raises(InputError, match=r"names\.txt: line 2: a class name should not begin with a hyphen"):
        find_pictures(str(write_table(tmp_path / "b.parquet", IMAGES[:2], [0, 1])), tmp_path / "names.txt")


def test_the_digits_of_the_package_have_held_out_ones(tmp_path):
    source = find_pictures("digits")
    assert source.class_names == CLASS_NAMES == stated_classes("digits")
    assert np.bincount(source.labels).tolist() == [400] * 10
    assert np.bincount(source.held_out.labels).tolist() == [100] * 10
    (tmp_path / "names.txt").write_text("\n".join("abcdefghij"))
    renamed = find_pictures("digits", tmp_path / "names.txt")
    assert renamed.class_names == renamed.held_out.class_names == tuple("abcdefghij")
    assert np.array_equal(renamed.labels, source.labels)


# --- what is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone", "gone: no such file or folder; allowed, too: digits"),
        ("a.zip", "a.zip: unknown kind of file; allowed: .tar, .parquet, .arrow, or a folder"),
        ("empty", "a folder of class folders, of tars, Parquet or Arrow files is needed; it has none of them"),
        ("mixed", "a folder of class folders, of tars, Parquet or Arrow files is needed; it has folders and tar"),
        ("bare", "bare/none: holds no pictures"),
    ],
)
def test_sources_that_are_none_are_refused(tmp_path, name, told):
    (tmp_path / "a.zip").touch()
    for folder in ("empty", "mixed/red", "bare/none"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mixed" / "a.tar").touch()
    assert told in refused(tmp_path / name)


def test_a_file_that_is_no_picture_is_named(tmp_path):
    root = write_folders(tmp_path / "all", PICTURES)
    (root / "green" / "notes.txt").write_text("no picture")
    assert refused(root) == f"{root}/green/notes.txt: not an image; allowed: png, jpeg, webp, tiff"
    (root / "green" / "notes.txt").unlink()
    (root / "red" / "0002.png").write_bytes(png(picture("red", 2))[:-40])
    assert refused(root).startswith(f"{root}/red/0002.png: not a whole image: ")


def test_linked_folders_in_a_class_folder_are_entered(tmp_path):
    root = write_folders(tmp_path / "all", PICTURES)
    expected = find_pictures(str(root))
    (tmp_path / "elsewhere").mkdir()
    for path in sorted((root / "red").iterdir()):
        path.rename(tmp_path / "elsewhere" / path.name)
    (root / "red" / "inside").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to(root)
    found = find_pictures(str(root))
    assert found.class_names == expected.class_names and found.labels.tolist() == expected.labels.tolist()


PNG, CLS = png(picture("red", 1)), b"red"


def test_a_class_in_a_tar_may_begin_with_a_byte_order_mark(tmp_path):
    path = write_tar(tmp_path / "a.tar", [("a.png", PNG), ("a.cls", b"\xef\xbb\xbfred\r\n")])
    assert find_pictures(str(path)).class_names == ("red",)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([("a.png", PNG)], "a.tar: sample 'a': its member .cls is missing"),
        ([("a.cls", CLS)], "a.tar: sample 'a': no image; one of png, jpg, webp, jpeg, tif, tiff is needed"),
        ([("a.cls", CLS), ("a.json", b"{}")], "a.tar: sample 'a': no image"),
        ([("a.png", PNG), ("b.cls", CLS)], "a.tar: sample 'a': its member .cls is missing"),
        ([("a.png", PNG), ("a.jpg", PNG), ("a.cls", CLS)], "a.tar: sample 'a': jpg and png; one of"),
        ([("a.png", PNG), ("a.left.png", PNG)], "a.tar: member 'a.left.png': the second .png of its sample"),
        ([("a.png", PNG), ("a.cls", b"\xff")], "a.tar: member 'a.cls': not UTF-8 text"),
        ([("a.png", PNG), ("a.cls", b"")], "a.tar: member 'a.cls': label '': a class is a number from 0, or text"),
        ([("a.png", PNG), ("a.cls", b"a\nb")], r"member 'a.cls': label 'a\nb': a class is a number from 0, or text"),
        ([("a.png", PNG), ("a.cls", b"x" * 70_000)], "member 'a.cls': 70000 bytes; at most 65536 allowed"),
        ([("a.png", b"PNG"), ("a.cls", CLS)], "a.tar: member 'a.png': not an image; allowed: png, jpeg, webp, tiff"),
        ([(".DS_Store", b""), ("._a.png", PNG)], "a.tar: holds no pictures"),
    ],
)
def test_a_wrong_member_is_named(tmp_path, members, told):
    assert told in refused(write_tar(tmp_path / "a.tar", members))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("a.png")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    assert refused(tmp_path / "a.tar").endswith("a.tar: member 'a.png': neither a regular file nor a folder")


def test_extended_headers_that_are_damaged_or_large_are_refused(tmp_path):
    def tar_with(content):
        header = tarfile.TarInfo("extended")
        header.type, header.size = tarfile.XHDTYPE, len(content)
        block = header.tobuf(tarfile.USTAR_FORMAT) + content.ljust(-(-len(content) // 512) * 512, b"\0")
        (tmp_path / "a.tar").write_bytes(block + bytes(1024))
        return tmp_path / "a.tar"

    for content in (b"12 path=a", b"99999 path=a\n", b"path=a\n", b"5 path=a\n", b"12 path=abcd\n\0"):
        assert refused(tar_with(content)).endswith("member 'extended': damaged: no extended header"), content
    assert "at most 65536 allowed" in refused(tar_with(b"70007 path=" + b"a" * 69_995 + b"\n"))
    assert refused(tar_with(b"11 path=\xff\xff\n")).endswith("a name that is not UTF-8")


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        ([PNG, None], [0, 1], "a.parquet: row 2: nothing in image"),
        ([{"bytes": PNG, "path": ""}, {"bytes": None, "path": "a.png"}], [0, 1], "a.parquet: row 2: nothing in image"),
        ([PNG, PNG], [0, None], "a.parquet: row 2: nothing in label"),
        ([PNG, PNG], [3, -1], "a.parquet: row 2: label -1: allowed: a number from 0, or text"),
        ([PNG, PNG], ["red", " "], "a.parquet: row 2: label ' ': a class is a number from 0, or text"),
        ([PNG, b"PNG"], [0, 1], "a.parquet: row 2: not an image; allowed: png, jpeg, webp, tiff"),
        (["a.png"], [0], "a.parquet: column image: string; expected binary, or a struct with bytes"),
        ([{"path": "a.png"}], [0], "a.parquet: column image: struct<path: string>; expected binary, or a struct"),
        ([PNG], [0.5], "a.parquet: column label: double; expected whole numbers or text"),
        ([PNG], [True], "a.parquet: column label: bool; expected whole numbers or text"),
        (pa.array([], pa.binary()), pa.array([], pa.int64()), "a.parquet: holds no pictures"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, images, labels, told):
    assert told in refused(write_table(tmp_path / "a.parquet", images, labels))


def test_tables_without_the_columns_or_of_several_classes_are_refused(tmp_path):
    pq.write_table(pa.table({"img": [PNG], "label": [0]}), tmp_path / "a.parquet")
    assert refused(tmp_path / "a.parquet").endswith("a.parquet: columns 'img', 'label'; expected image and label")
    (tmp_path / "two").mkdir()
    for name, names in (("a", NAMES), ("b", NAMES[::-1])):
        write_table(tmp_path / "two" / f"{name}.parquet", [PNG], [0], names)
    assert "b.parquet: its metadata name other classes than those of" in refused(tmp_path / "two")


@pytest.mark.parametrize(
    "metadata", ["", "[]", "{", json.dumps({"info": {"features": {"label": {"names": [1]}}}}), json.dumps({"info": 3})]
)
def test_metadata_that_name_no_classes_are_none(tmp_path, metadata):
    path = write_table(tmp_path / "a.parquet", [PNG], [7])
    table = pq.read_table(path).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, path)
    assert find_pictures(str(path)).class_names == ("7",)


def test_names_are_of_numbers_that_have_one(tmp_path, names):
    text = write_table(tmp_path / "text.parquet", [PNG, PNG], ["0", "red"])
    assert refused(text, names).endswith("row 2: label 'red': allowed: 0 to 3, classes with a name")
    large = write_table(tmp_path / "large.parquet", [PNG, PNG], [3, 4])
    assert refused(large, names).endswith("row 2: label '4': allowed: 0 to 3, classes with a name")


# --- damage -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a tar and of tables."""
    folder = tmp_path_factory.mktemp("whole")
    tar = write_tar(folder / "a.tar", samples(PICTURES[:3]), format=tarfile.GNU_FORMAT)
    table = write_table(folder / "a.parquet", IMAGES[:3], [name for name, _ in PICTURES[:3]])
    classes = [name for name, _ in PICTURES[:3]]
    streamed = write_arrow(folder / "a.arrow", pa.array(STRUCTS[:3]), classes, rows=2)
    return {path.name: path.read_bytes() for path in (tar, table, streamed)}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["a.tar", "a.parquet", "a.arrow"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 255),
    st.booleans(),
)
@example("a.tar", 0.0, 0, False)
@example("a.parquet", 0.999, 7, False)
@example("a.arrow", 0.0, 0, True)
def test_damaged_files_are_read_or_refused_in_one_line(whole, tmp_path, name, place, value, cut):
    """One byte changed, or the end cut off: never another exception, and never more pictures than there were."""
    content = bytearray(whole[name])
    position = int(place * len(content))
    if cut:
        del content[position:]
    else:
        content[position] = value
    path = tmp_path / name
    path.write_bytes(bytes(content))
    try:
        assert len(found_in(path)) <= 3
        told = str(path)
    except InputError as error:
        told = str(error)
    assert str(path) in told and len(told.splitlines()) == 1


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=1500))
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path, content):
    for name in ("a.tar", "a.parquet", "a.arrow"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            found_in(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


LABEL = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P"], include_characters=" "), min_size=1, max_size=12
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LABEL.filter(str.strip) | st.integers(0, 300).map(str), min_size=1, max_size=20))
def test_any_text_is_a_class_in_tars_and_tables(tmp_path, labels):
    """Indices and names, put together again, are the labels; a slow formulation of their order."""
    assert_labels(find_pictures(str(write_table(tmp_path / "a.parquet", [PNG] * len(labels), labels))), labels)
    members = [pair for n, label in enumerate(labels) for pair in ((f"{n}.cls", label.encode()), (f"{n}.png", PNG))]
    assert_labels(find_pictures(str(write_tar(tmp_path / "a.tar", members))), [label.strip() for label in labels])


def assert_labels(source: PictureSource, labels):
    assert [source.class_names[index] for index in source.labels] == labels
    numbers = all(label.isascii() and label.isdigit() and str(int(label)) == label for label in labels)
    assert list(source.class_names) == sorted(set(labels), key=int if numbers else str)


# --- the state of files -------------------------------------------------------------------------------------------


def test_the_state_of_the_files_is_theirs(tmp_path):
    root = write_folders(tmp_path / "all", PICTURES)
    before = pictures_state(str(root))
    assert before.startswith(f"{root}: 12 files: ") and pictures_state(str(root)) == before
    os.utime(root / "red" / "0002.png", (1, 1))
    touched = pictures_state(str(root))
    (root / "red" / "0099.png").write_bytes(PNG)
    assert len({before, touched, pictures_state(str(root))}) == 3
    assert pictures_state("digits").startswith("digits: 0 files")

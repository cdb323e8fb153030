"""Shards: tars that any tool reads, and a reader that believes nothing."""

import io
import json
import re
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
import webdataset as wds
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from cortex.core.errors import InputError
from cortex.data.draw import Stretch, generate_shard
from cortex.data.pixels import MAX_PIXELS, decode_image, encode_image
from cortex.data.settings import ImageFiles
from cortex.data.shard_reader import MEMBER_LIMITS, Sample, read_shard
from cortex.data.shard_writer import write_shard
from cortex.generators.load import load_generator
from cortex.generators.sampling import Sampling

CODES = 300
BLOCK = 512


def samples(count=3):
    random = np.random.default_rng(0)
    return [
        Sample(
            key=f"train-{label:04d}-{7 * label:06d}",
            label=label,
            grid=random.integers(0, CODES, (4, 6)).astype(np.uint16),
            image=random.integers(0, 256, (8, 12, 3)).astype(np.uint8),
            info={"seed": 5, "class_name": "straße", "nested": [1.5, None]},
        )
        for label in range(count)
    ]


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "000000.tar"
    write_shard(path, samples())
    return path


def assert_equal(found, expected):
    assert (found.key, found.label, found.info) == (expected.key, expected.label, expected.info)
    assert found.grid.dtype == np.uint16 and np.array_equal(found.grid, expected.grid)
    assert found.image.dtype == np.uint8 and np.array_equal(found.image, expected.image)


# --- what a shard is ---------------------------------------------------------------------------------------------


def test_what_was_written_is_read(shard):
    found = list(read_shard(shard, images=True, codes=CODES))
    for one, other in zip(found, samples(), strict=True):
        assert_equal(one, other)
    assert all(sample.image is None for sample in read_shard(shard))


def test_members_hold_the_documented_formats(shard):
    with tarfile.open(shard) as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}
        constants = {(m.mtime, m.uid, m.gid, m.uname, m.gname, oct(m.mode), m.type) for m in tar}
    assert len(constants) == 1, "times, owners and modes are constants"
    assert len(contents) == 12
    for sample in samples():
        assert contents[f"{sample.key}.cls"] == str(sample.label).encode()
        info = json.loads(contents[f"{sample.key}.json"])
        sums = {kind: zlib.crc32(contents[f"{sample.key}.{kind}"]) for kind in ("cls", "png", "tokens.npy")}
        assert info == sample.info | {
            "crc32": sums | {"json": zlib.crc32(json.dumps(sample.info, sort_keys=True).encode())}
        }
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(contents[f"{sample.key}.png"]))), sample.image)
        grid = np.load(io.BytesIO(contents[f"{sample.key}.tokens.npy"]), allow_pickle=False)
        assert grid.dtype == np.dtype("<u2") and np.array_equal(grid, sample.grid)


def test_the_same_samples_give_the_same_bytes(shard, tmp_path):
    write_shard(tmp_path / "again.tar", iter(samples()))
    assert (tmp_path / "again.tar").read_bytes() == shard.read_bytes()


@pytest.mark.filterwarnings("ignore:unclosed file .*000000.tar:ResourceWarning")  # webdataset leaves it open
def test_webdataset_reads_a_shard(shard):
    found = list(wds.WebDataset(str(shard), shardshuffle=False).decode("rgb8"))
    for one, other in zip(found, samples(), strict=True):
        one["json"].pop("crc32")
        assert_equal(Sample(one["__key__"], one["cls"], one["tokens.npy"], one["png"], one["json"]), other)


def test_tar_lists_a_shard(shard):
    listed = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True)
    kinds = ("cls", "json", "png", "tokens.npy")
    assert listed.stdout.split() == [f"{sample.key}.{kind}" for sample in samples() for kind in kinds]
    assert listed.stderr == ""


def test_a_shard_needs_no_images_and_no_info(tmp_path):
    path = tmp_path / "bare.tar"
    path.write_bytes(tar_of(("a.cls", b"7"), ("a.tokens.npy", npy(np.zeros((2, 3), np.uint16)))))
    (only,) = read_shard(path)
    assert (only.key, only.label, only.grid.tolist(), only.info) == ("a", 7, [[0] * 3] * 2, {})


@pytest.mark.parametrize(("name", "extension", "off"), [("png", "png", 0), ("jpeg", "jpg", 12), ("webp", "webp", 12)])
def test_images_of_every_format_are_read(tmp_path, name, extension, off):
    path = tmp_path / "000000.tar"
    smooth = np.add.outer(np.arange(40), np.arange(60))[..., None] * [2, 1, 0] + [0, 20, 120]
    expected = [Sample("a", 0, np.zeros((4, 6), np.uint16)), Sample("b", 1, np.ones((4, 6), np.uint16))]
    write_shard(path, expected, [encode_image(smooth.astype(np.uint8), name, 98), None])
    with tarfile.open(path) as tar:
        assert [member for member in tar.getnames() if member[2:] not in ("cls", "json", "tokens.npy")] == [
            f"a.{extension}"
        ]
    one, other = read_shard(path, images="any")
    assert np.abs(one.image - smooth).max() <= off and other.image is None
    with pytest.raises(InputError, match=r"b\.png is missing, or another image: png, jpg, webp"):
        list(read_shard(path, images=True))
    assert [sample.image for sample in read_shard(path)] == [None, None]


def test_shards_keep_images_as_asked(generator_weights, tmp_path):
    def drawn(name, quality=95):
        path = tmp_path / f"{name}{quality}.tar"
        generate_shard(
            path,
            Stretch("test", 2, 12, seed=3, classes=[0, 2, 5]),
            sampling=Sampling(top_k=None, top_p=None),
            keep=ImageFiles(images=name, quality=quality),
            batch_classes=2,
            batch_indices=3,
            generator=generator_weights,
            device="cpu",
        )
        return path, list(read_shard(path, images="any"))

    samples = {name: drawn(name)[1] for name in ("png", "jpeg", "webp", "none")}
    grids = np.stack([sample.grid for sample in samples["png"]])
    for others in samples.values():
        assert np.array_equal(np.stack([sample.grid for sample in others]), grids)
        assert [(s.key, s.label, s.info) for s in others] == [(s.key, s.label, s.info) for s in samples["png"]]
    assert all(sample.image is None for sample in samples["none"])
    decoded = load_generator(generator_weights).decode(torch.from_numpy(grids.astype(np.int64))).numpy()
    images = {name: np.stack([sample.image for sample in samples[name]]) for name in ("png", "jpeg", "webp")}
    assert np.abs(images["png"].astype(int) - decoded).max() <= 1, "each image lies beside its grid"
    for name in ("jpeg", "webp"):
        assert images[name].shape == images["png"].shape and not np.array_equal(images[name], images["png"])
        path, _ = drawn(name, 20)
        assert path.stat().st_size <= (tmp_path / f"{name}95.tar").stat().st_size
        before = path.read_bytes()
        assert drawn(name, 20)[0].read_bytes() == before, "the same bytes every time"
    with pytest.raises(ValueError, match=r"quality\n.*greater than or equal to 1"):
        drawn("jpeg", 0)


def test_tokens_alone_take_a_sixtieth_of_a_float32_embedding(tmp_path):
    """At paper scale: 262,144 bytes for 256×16×16 floats."""
    grid = np.random.default_rng(0).integers(0, 16384, (16, 16)).astype(np.uint16)
    info = {"seed": 1, "class_name": "black-and-tan coonhound"}
    write_shard(tmp_path / "a.tar", (Sample(f"train-0165-{i:06d}", 165, grid, info=info) for i in range(100)))
    assert (tmp_path / "a.tar").stat().st_size / 100 <= 4 * 256 * 16 * 16 / 60


def test_a_failing_source_of_samples_leaves_no_shard(tmp_path):
    def failing():
        yield from samples()
        raise RuntimeError("the generator ran out of luck")

    with pytest.raises(RuntimeError, match="luck"):
        write_shard(tmp_path / "000000.tar", failing())
    assert list(tmp_path.iterdir()) == []


# --- what the reader refuses -------------------------------------------------------------------------------------


def npy(array, **settings):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asanyarray(array), **settings)
    return buffer.getvalue()


def npy_of(header, data=bytes(48), version=b"\x01\x00"):
    """An npy file of any header; its data are 4×6 zeros unless given."""
    header = header.encode() + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def png(width, height, rows=b"", color=2):
    """A PNG file of any size in its header."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_a_tar_of_webdatasets_own_writer_is_read(tmp_path):
    """By its default settings it states fractions of seconds, in extended headers."""
    with wds.TarWriter(str(tmp_path / "000000.tar")) as tar:
        for sample in samples():
            members = {"png": sample.image, "cls": sample.label, "json": sample.info, "tokens.npy": npy(sample.grid)}
            tar.write({"__key__": sample.key, **members})
    with tarfile.open(tmp_path / "000000.tar") as tar:
        assert all(member.pax_headers.keys() == {"mtime"} for member in tar)
    for found, expected in zip(read_shard(tmp_path / "000000.tar", images=True), samples(), strict=True):
        assert_equal(found, expected)


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_and_owners_of_any_length_are_read(tmp_path, kind):
    key, common = "zoë-零-" * 40, {"comment": "all of them"} if kind == tarfile.PAX_FORMAT else None
    with tarfile.open(tmp_path / "000000.tar", "w", format=kind, pax_headers=common) as tar:
        for name, content in (("cls", b"3"), ("tokens.npy", GRID)):
            info = tarfile.TarInfo(f"{key}.{name}")
            info.size, info.uname, info.mtime = len(content), "zoë", 1.5
            tar.addfile(info, io.BytesIO(content))
    (found,) = read_shard(tmp_path / "000000.tar")
    assert (found.key, found.label) == (key, 3)


def entry(name, content=b"", **fields):
    """A tar member: its header, whose ``fields`` may contradict its content, and the padded content."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(tarfile.GNU_FORMAT) + content + bytes(-len(content) % BLOCK)


def pax(*records, kind=tarfile.XHDTYPE):
    """An extended header of records ``key=value``: each with its length in front, which counts itself."""
    lines = []
    for record in records:
        size = len(record.encode()) + 2
        size += len(str(size + len(str(size))))
        lines.append(f"{size} {record}\n")
    return entry("././@PaxHeader", "".join(lines).encode(), type=kind)


def tar_of(*entries):
    """A tar of entries, given as their bytes or as (name, content)."""
    return b"".join(e if isinstance(e, bytes) else entry(*e) for e in entries) + bytes(2 * BLOCK)


def good(key="b", label=1, grid=None):
    sample = samples()[0]
    png_file = io.BytesIO()
    Image.fromarray(sample.image).save(png_file, "png")
    grid = npy(sample.grid if grid is None else grid)
    members = (("cls", b"%d" % label), ("json", b"{}"), ("png", png_file.getvalue()), ("tokens.npy", grid))
    return b"".join(entry(f"{key}.{kind}", content) for kind, content in members)


def with_member(kind, content, **fields):
    """A good sample, then one whose member of a kind is replaced."""
    members = {"cls": b"1", "json": b"{}", "png": png(1, 1, bytes(4)), "tokens.npy": npy(np.zeros((4, 6), np.uint16))}
    others = [entry(f"c.{other}", text) for other, text in members.items() if other != kind]
    return tar_of(good(), *others, entry(f"c.{kind}", content, **fields))


def with_image(extension, content):
    """A good sample, then one whose image is of another kind."""
    return tar_of(good(), entry("c.cls", b"1"), entry(f"c.{extension}", content), entry("c.tokens.npy", GRID))


def jpeg(width=None, height=None):
    """A JPEG file, with any size in its header."""
    content = bytearray(encode_image(samples()[0].image, "jpeg").content)
    if width:
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def webp(size=None):
    """A lossy WebP file, with any size in its header."""
    content = bytearray(encode_image(samples()[0].image, "webp").content)
    if size:
        content[26:30] = struct.pack("<HH", *size)
    return bytes(content)


def riff(kind, content):
    """A WebP file of one chunk."""
    chunk = kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


GRID = npy(np.zeros((4, 6), np.uint16))
U2 = "{'descr': '<u2', 'fortran_order': False, 'shape': %s, }"
HOSTILE = {
    "absolute path": (tar_of(good(), entry("/etc/cron.d/c.cls", b"1")), "'/etc/cron.d/c.cls'"),
    "dots": (tar_of(good(), entry("../c.cls", b"1")), "'../c.cls'"),
    "dots alone": (tar_of(good(), entry("..", b"1")), "'..'"),
    "folder": (tar_of(good(), entry("c", type=tarfile.DIRTYPE)), "'c'"),
    "backslash": (tar_of(good(), entry("..\\c.cls", b"1")), r"'..\\c.cls'"),
    "two lines": (tar_of(good(), entry("c\nd.cls", b"1")), r"'c\nd.cls'"),
    "no key": (tar_of(good(), entry(".cls", b"1")), "'.cls'"),
    "unknown kind": (tar_of(good(), entry("c.pickle", b"1")), "'c.pickle'"),
    "symbolic link": (tar_of(good(), entry("c.cls", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "'c.cls'"),
    "hard link": (tar_of(good(), entry("c.cls", type=tarfile.LNKTYPE, linkname="b.cls")), "'c.cls'"),
    "device": (tar_of(good(), entry("c.cls", type=tarfile.CHRTYPE, devmajor=1, devminor=5)), "'c.cls'"),
    "pipe": (tar_of(good(), entry("c.cls", type=tarfile.FIFOTYPE)), "'c.cls'"),
    "pax header at the end": (tar_of(good(), pax("path=/etc")), "not a whole tar: it ends before member '/etc'"),
    "pax name with a folder": (tar_of(good(), pax("path=/etc/c.cls"), entry("c.cls", b"1")), "'/etc/c.cls'"),
    "pax name of a member before": (tar_of(good(), pax("path=b.cls"), entry("c.cls", b"1")), "'b.cls' appears twice"),
    "pax size": (tar_of(good(), pax("size=9"), entry("c.cls", b"1")), "extended header 'size': not supported"),
    "pax holes": (tar_of(good(), pax("GNU.sparse.map=0,1"), entry("c.cls", b"1")), "header 'GNU.sparse.map': not"),
    "pax real size": (tar_of(good(), pax("mtime=1", "SCHILY.realsize=9"), entry("c.cls", b"1")), "'SCHILY.realsize'"),
    "pax link": (tar_of(good(), pax("linkpath=/etc"), entry("c.cls", type=tarfile.SYMTYPE)), "'c.cls': not a regular"),
    "pax records damaged": (tar_of(good(), entry("p", b"99 a=b\n", type=tarfile.XHDTYPE)), "'p': damaged: no ext"),
    "global pax header": (tar_of(entry("c.cls", b"13 path=/etc\n", type=tarfile.XGLTYPE), good()), "'c.cls'"),
    "GNU long name of 10 GB": (
        tar_of(good(), entry("././@LongLink", b"c.cls\0", type=tarfile.GNUTYPE_LONGNAME, size=10 << 30)),
        "'././@LongLink'",
    ),
    "sparse": (tar_of(good(), entry("c.cls", b"1", type=tarfile.GNUTYPE_SPARSE)), "'c.cls'"),
    "unknown type": (tar_of(good(), entry("c.cls", b"1", type=b"Z")), "'c.cls'"),
    "10 GB": (with_member("cls", b"1", size=10 << 30), "'c.cls': 10737418240 bytes; at most"),
    "negative size": (with_member("cls", b"1", size=-512), "'c.cls': -512 bytes"),
    "too large a label": (with_member("cls", b"1" * 33), "'c.cls': 33 bytes; at most 32"),
    "too large a grid": (with_member("tokens.npy", b"", size=(1 << 20) + 1), "'c.tokens.npy': 1048577 bytes"),
    "member missing": (tar_of(good(), entry("c.cls", b"1"), entry("c.png", png(1, 1, bytes(4)))), "c.tokens.npy is mi"),
    "label missing": (tar_of(good(), entry("c.tokens.npy", npy(np.zeros((4, 6), np.uint16)))), "c.cls is missing"),
    "image missing": (
        tar_of(good(), entry("c.cls", b"1"), entry("c.tokens.npy", npy(np.zeros((4, 6), np.uint16)))),
        "c.png is missing",
    ),
    "member twice": (tar_of(good(), entry("b.cls", b"2")), "'b.cls' appears twice"),
    "key twice": (tar_of(good("b"), good("c"), good("b")), "'b' appears twice"),
    "no samples": (tar_of(), "no samples"),
    "token out of range": (
        tar_of(good(), good("c", grid=np.full((4, 6), CODES, np.uint16))),
        "c.tokens.npy: token 300",
    ),
    "another shape": (tar_of(good(), good("c", grid=np.zeros((6, 4), np.uint16))), "c.tokens.npy: a grid of (6, 4)"),
    "object dtype": (with_member("tokens.npy", npy(np.array([[print]], object))), "c.tokens.npy: header"),
    "structured dtype": (with_member("tokens.npy", npy(np.zeros((4, 6), "u2,u2"))), "c.tokens.npy: header"),
    "signed dtype": (with_member("tokens.npy", npy(np.zeros((4, 6), np.int16))), "c.tokens.npy: header"),
    "big-endian dtype": (with_member("tokens.npy", npy(np.zeros((4, 6), ">u2"))), "c.tokens.npy: header"),
    "wide dtype": (with_member("tokens.npy", npy(np.zeros((4, 6), np.int64))), "c.tokens.npy: header"),
    "column-major": (with_member("tokens.npy", npy(np.zeros((6, 4), np.uint16).T)), "c.tokens.npy: header"),
    "one dimension": (with_member("tokens.npy", npy(np.zeros(24, np.uint16))), "c.tokens.npy: header"),
    "three dimensions": (with_member("tokens.npy", npy(np.zeros((2, 3, 4), np.uint16))), "c.tokens.npy: header"),
    "empty grid": (with_member("tokens.npy", npy(np.zeros((0, 6), np.uint16))), "c.tokens.npy: 0 bytes"),
    "huge shape": (with_member("tokens.npy", npy_of(U2 % "(999999, 999999)")), "c.tokens.npy: 48 bytes of data"),
    "huger shape": (with_member("tokens.npy", npy_of(U2 % f"({'9' * 5000}, 1)")), "c.tokens.npy: header"),
    "negative shape": (with_member("tokens.npy", npy_of(U2 % "(-4, -6)")), "c.tokens.npy: header"),
    "code as header": (with_member("tokens.npy", npy_of("__import__('os').abort()")), "c.tokens.npy: header"),
    "deep header": (with_member("tokens.npy", npy_of("(" * 9000 + ")" * 9000)), "c.tokens.npy: header"),
    "npy of version 2": (with_member("tokens.npy", npy_of(U2 % "(4, 6)", version=b"\x02\x00")), "c.tokens.npy: not"),
    "no npy": (with_member("tokens.npy", b"PK\x03\x04"), "c.tokens.npy: not an npy file"),
    "empty npy": (with_member("tokens.npy", b""), "c.tokens.npy: not an npy file"),
    "grid cut": (with_member("tokens.npy", npy(np.zeros((4, 6), np.uint16))[:-2]), "c.tokens.npy: 46 bytes of data"),
    "grid too long": (with_member("tokens.npy", npy(np.zeros((4, 6), np.uint16)) + b"\0"), "c.tokens.npy: 49 bytes"),
    "class no number": (with_member("cls", b"cat"), "c.cls: b'cat' is not a class index"),
    "class negative": (with_member("cls", b"-1"), "c.cls: b'-1' is not a class index"),
    "class in other digits": (with_member("cls", "٣".encode()), "c.cls: "),
    "class empty": (with_member("cls", b""), "c.cls: b'' is not a class index"),
    "class too large": (with_member("cls", b"65536"), "c.cls: b'65536' is not a class index, 0 to 65535"),
    "class far too large": (with_member("cls", b"9" * 32), "c.cls: "),
    "JSON no object": (with_member("json", b"[1]"), "c.json: a JSON list, expected an object"),
    "no JSON": (with_member("json", b"{'a': 1}"), "c.json: not JSON"),
    "JSON no text": (with_member("json", b"\xff\xfe\xfa"), "c.json: not JSON"),
    "deep JSON": (with_member("json", b'{"a":' * 10_000), "c.json: not JSON"),
    "long JSON number": (with_member("json", b'{"a": %s}' % (b"9" * 5000)), "c.json: not JSON"),
    "huge image": (with_member("png", png(60_000, 60_000)), "c.png: 60000×60000 pixels; at most 16777216"),
    "huger image": (with_member("png", png(2**31 - 1, 2**31 - 1)), "c.png: 2147483647×2147483647 pixels"),
    "image cut": (with_member("png", png(3, 3, bytes(30))[:-30]), "c.png: not a whole image"),
    "image of no pixels": (with_member("png", png(0, 3)), "c.png: not a whole image"),
    "image of another format": (with_member("png", b"GIF89a" + bytes(50)), "c.png: not a PNG image"),
    "empty image": (with_member("png", b""), "c.png: not a PNG image"),
    "two images": (tar_of(good(), good("c"), entry("c.jpg", b"")), "'c' has several images: png, jpg"),
    "JPEG that is PNG": (with_image("jpg", png(1, 1, bytes(4))), "c.jpg: not a JPEG image"),
    "JPEG cut": (with_image("jpg", jpeg()[:-100]), "c.jpg: not a whole image"),
    "JPEG of a start": (with_image("jpg", b"\xff\xd8\xff"), "c.jpg: not a whole image"),
    "huge JPEG": (with_image("jpg", jpeg(5000, 5000)), "c.jpg: 5000×5000 pixels; at most 16777216"),
    "WebP that is PNG": (with_image("webp", png(1, 1, bytes(4))), "c.webp: not a WebP image"),
    "WebP cut": (with_image("webp", webp()[:-100]), "c.webp: not a whole image"),
    "huge WebP": (with_image("webp", webp((16383, 16383))), "c.webp: 16383×16383 pixels; at most 16777216"),
    "huge lossless WebP": (with_image("webp", riff(b"VP8L", b"\x2f" + b"\xff" * 4)), "c.webp: 16384×16384 pixels"),
    "huge extended WebP": (with_image("webp", riff(b"VP8X", bytes(4) + b"\xff" * 6)), "c.webp: 16777216×16777216 pix"),
}

# What no reader of data has to do: events of Python's own audit (sys.audit) that write, run or unpickle.
FORBIDDEN = {"os.mkdir", "os.link", "os.symlink", "os.rename", "os.remove", "os.chmod", "os.truncate", "os.system"}
FORBIDDEN |= {"subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class", "socket.connect"}
watched = None


def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if watched is not None and (writes or event in FORBIDDEN):
        watched.append((event, arguments))


sys.addaudithook(watch)


@contextmanager
def nothing_written_or_run():
    global watched  # noqa: PLW0603
    watched = []
    try:
        yield
        assert watched == []
    finally:
        watched = None


def read_carefully(content, path, images=True):
    """The samples of a tar of any content, or None where it is refused with an error that names the file."""
    path.write_bytes(content)
    refusal = None
    with nothing_written_or_run():
        try:
            return list(read_shard(path, images=images, codes=CODES))
        except InputError as error:
            refusal = str(error)
    assert refusal.startswith(f"{path}: ") and len(refusal.splitlines()) == 1
    return None


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile") / "000001.tar"


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_tar_is_refused_by_name_in_little_memory(case, path):
    content, message = HOSTILE[case]
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with nothing_written_or_run(), pytest.raises(InputError) as caught:
            list(read_shard(path, images=True, codes=CODES))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 500
    assert peak < 8 << 20
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_the_tars_above_are_hostile_in_one_way_only(path):
    found = read_carefully(tar_of(good("b"), good("c"), good("d")), path)
    assert [sample.key for sample in found] == ["b", "c", "d"]
    for kind, content in (
        ("cls", b"65535"),
        ("json", b'{"a": [1]}'),
        ("png", png(3, 3, bytes(30))),
        ("tokens.npy", npy_of(U2 % "(4, 6)")),
    ):
        assert [sample.key for sample in read_carefully(with_member(kind, content), path)] == ["b", "c"]


def test_a_missing_shard_is_named(tmp_path):
    for missing in (tmp_path / "none.tar", tmp_path):
        with pytest.raises(InputError, match=f"{missing}: no such shard"):
            list(read_shard(missing))


def test_limits_admit_what_the_method_needs():
    assert MEMBER_LIMITS["tokens.npy"] > 128 + 2 * 256 * 256 and MAX_PIXELS >= 2048 * 2048


# --- any damage --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images", [False, True])
def test_a_tar_cut_anywhere_before_its_end_marker_is_refused(images, shard, path):
    whole = shard.read_bytes()
    end = len(whole.rstrip(b"\0"))
    end += -end % BLOCK  # where the blocks of zeros begin that end a tar
    for length in (*range(0, end, 499), end - 1, end, end + 1, end + BLOCK - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"000001\.tar: "):
            list(read_shard(path, images=images))
    path.write_bytes(whole[: end + BLOCK])
    assert len(list(read_shard(path, images=images))) == 3


@pytest.mark.parametrize("images", [False, True])
def test_the_member_that_a_tar_ends_inside_is_named(images, shard, path):
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        members = list(tar)
    for member in members:
        path.write_bytes(whole[: member.offset_data + member.size - 1])
        with pytest.raises(InputError, match=f"member '{member.name}': the tar ends inside it"):
            list(read_shard(path, images=images))


@pytest.mark.slow
@pytest.mark.parametrize("images", [False, True])
def test_a_flipped_bit_is_refused_or_harmless(images, shard, path):
    """Headers have a checksum, and so has all that members hold; padding, and images not asked for, are not checked.

    Under a key that is not spelled "crc32" any more, nothing is checked, but nothing else is wrong either.
    """
    whole = shard.read_bytes()
    with tarfile.open(shard) as tar:
        read = [member for member in tar if images or member.name.endswith((".cls", ".tokens.npy"))]
    held = {place for m in read for place in range(m.offset_data, m.offset_data + m.size)}
    key = {found.start() + place for found in re.finditer(b'"crc32"', whole) for place in range(1, 6)}
    outcomes = {"refused": 0, "harmless": 0}
    for place in range(0, len(whole), 23):
        content = whole[:place] + bytes([whole[place] ^ 1 << (place % 8)]) + whole[place + 1 :]
        found = read_carefully(content, path, images=images)
        outcomes["refused" if found is None else "harmless"] += 1
        if found is not None:
            assert place not in held - key
            for one, other in zip(found, samples(), strict=True):
                assert one.label == other.label and np.array_equal(one.grid, other.grid)
                assert one.info == other.info or place in key
                assert one.image is None or np.array_equal(one.image, other.image)
    assert min(outcomes.values()) > 30


def test_a_tar_without_checksums_is_read(path):
    path.write_bytes(tar_of(good("a"), good("b")))
    assert [(sample.key, sample.info) for sample in read_shard(path, images=True)] == [("a", {}), ("b", {})]


def test_a_member_that_is_missing_or_another_sample_s_is_named(tmp_path, path):
    write_shard(tmp_path / "a.tar", [samples()[0]])
    with tarfile.open(tmp_path / "a.tar") as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}
    key = samples()[0].key
    for changed, message in (
        ({f"{key}.png": None}, "png is missing"),
        ({f"{key}.cls": b"1"}, r"cls: damaged: its checksum is not the one in crc32"),
        ({f"{key}.json": b'{"crc32": 7}'}, "json: crc32 is a JSON int, expected an object"),
    ):
        members = ((name, content) for name, content in (contents | changed).items() if content is not None)
        path.write_bytes(tar_of(*members))
        with pytest.raises(InputError, match=rf"000001\.tar: member {key}\.{message}"):
            list(read_shard(path))


@given(content=st.binary(max_size=3 * BLOCK))
@example(content=bytes(BLOCK))
def test_any_bytes_give_samples_or_an_error(content, path):
    assert read_carefully(content, path) is None, "random bytes are no shard"


@st.composite
def mutations(draw, whole):
    """A tar after a few cuts, copies, swaps and overwritten stretches of any place."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(content)))
        last = min(len(content), first + draw(st.sampled_from([1, 8, 100, BLOCK, 3 * BLOCK])))
        if draw(st.booleans()):  # whole blocks: mutations that leave headers intact
            first, last = first // BLOCK * BLOCK, -(-last // BLOCK) * BLOCK
        how = draw(st.sampled_from(["cut", "copy", "overwrite", "zero", "truncate"]))
        if how == "cut":
            del content[first:last]
        elif how == "copy":
            place = draw(st.integers(0, len(content) // BLOCK)) * BLOCK
            content[place:place] = content[first:last]
        elif how == "overwrite":
            content[first:last] = draw(st.binary(min_size=1, max_size=40))
        elif how == "zero":
            content[first:last] = bytes(last - first)
        else:
            del content[first:]
    return bytes(content)


@settings(max_examples=150)
@given(data=st.data())
def test_any_mutation_of_a_shard_gives_samples_or_an_error(data, shard, path):
    for sample in read_carefully(data.draw(mutations(shard.read_bytes())), path) or ():
        assert sample.grid.shape == (4, 6) and sample.grid.max() < CODES and 0 <= sample.label < 65536
        assert isinstance(sample.info, dict) and sample.image.shape == (8, 12, 3)


@settings(max_examples=150)
@given(data=st.data(), name=st.sampled_from(["png", "jpeg", "webp"]))
def test_any_mutation_of_an_image_is_an_image_or_an_error(data, name):
    encoded = encode_image(samples()[0].image, name)
    content = data.draw(mutations(encoded.content))
    refusal = ""
    try:
        image = decode_image(content, encoded.extension, "here")
        assert image.dtype == np.uint8 and image.shape[2] == 3 and image.size <= 3 * MAX_PIXELS
    except InputError as error:
        refusal = str(error)
    assert not refusal or (refusal.startswith("here: ") and len(refusal.splitlines()) == 1)


CONTENTS = {
    "cls": st.integers(0, 99_999).map(lambda label: str(label).encode()),
    "json": st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3)).map(
        lambda info: json.dumps(info).encode()
    ),
    "png": st.builds(png, st.integers(1, 9), st.integers(1, 9), st.binary(max_size=300), st.sampled_from([0, 2, 4, 6])),
    "tokens.npy": st.lists(st.integers(0, CODES), min_size=24, max_size=24).map(
        lambda tokens: npy(np.array(tokens, "<u2").reshape(4, 6))
    ),
}


@st.composite
def members(draw):
    """The four members of a sample, of which one may have any content, any name or any header."""
    parts = {kind: {"name": f"c.{kind}", "content": draw(content)} for kind, content in CONTENTS.items()}
    odd = draw(st.sampled_from(list(parts)))
    oddities = {
        "content": st.binary(max_size=64),
        "name": st.text(max_size=9) | st.sampled_from(["../c.cls", "d.cls", "c", "c.json", ""]),
        "type": st.sampled_from([tarfile.AREGTYPE, tarfile.XHDTYPE, tarfile.LNKTYPE, tarfile.GNUTYPE_SPARSE]),
        "size": st.integers(-(1 << 60), 1 << 60) | st.integers(0, 600),
    }
    for field in draw(st.sets(st.sampled_from(list(oddities)), max_size=1)):
        parts[odd][field] = draw(oddities[field])
    return [entry(**part) for part in parts.values()]


@settings(max_examples=150)
@given(content=members())
def test_any_members_under_sound_headers_give_samples_or_an_error(content, path):
    for sample in read_carefully(tar_of(good(), *content), path) or ():
        assert sample.grid.shape == (4, 6) and sample.grid.max() < CODES and 0 <= sample.label < 65536
        assert isinstance(sample.info, dict) and sample.image.dtype == np.uint8 and sample.image.shape[2] == 3

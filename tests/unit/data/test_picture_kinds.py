"""Every kind of picture file that people have is read as it looks, or refused by its place: never silently wrong."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from cortex.core.errors import InputError
from cortex.data.picture_sources import find_pictures
from cortex.data.pictures import read_pictures
from cortex.data.pixels import decode_image, decode_picture
from tests.pictures import write_table, write_tar

COLOUR = np.array([200, 100, 50])  # top left quarter of the picture; the rest is black
GREY = 120


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(size=16):
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[: size // 2, : size // 2] = COLOUR
    return Image.fromarray(pixels)


def grey_scene():
    return Image.fromarray(np.where(np.any(np.asarray(scene()), axis=2), GREY, 0).astype(np.uint8))


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunk(*chunks):
    """The scene as PNG, with more chunks after its header."""
    content = saved(scene(), "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def with_segment(marker, content):
    """The scene as JPEG, with one more segment at its start."""
    jpeg = saved(scene(), "JPEG", quality=100, subsampling=0)
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def png_of_16_bits(kind, values):
    """A PNG of the scene, written by its definition: Pillow writes no colours of 16 bits."""
    rows = b"".join(
        b"\0"
        + b"".join(struct.pack(f">{len(values)}H", *(v if x < 8 and y < 8 else 0 for v in values)) for x in range(16))
        for y in range(16)
    )

    header = struct.pack(">IIBBBBB", 16, 16, 16, kind, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def tiff(meaning, values, bits=16, order="<", sample_format=1):
    """An uncompressed TIFF of the scene, written by its definition: Pillow writes no colours of 16 bits."""
    kind = {8: "B", 16: "H", 32: "f"}[bits]
    seen = [values if x < 8 and y < 8 else [0] * len(values) for y in range(16) for x in range(16)]
    pixels = b"".join(struct.pack(f"{order}{len(values)}{kind}", *each) for each in seen)
    count = len(values)
    tags = [(256, 3, [16]), (257, 3, [16]), (258, 3, [bits] * count), (259, 3, [1]), (262, 3, [meaning]), (273, 4, [0])]
    tags += [(277, 3, [count]), (278, 3, [16]), (279, 4, [len(pixels)]), (339, 3, [sample_format] * count)]
    more, entries, after = b"", b"", 8 + 2 + 12 * len(tags) + 4
    place_of_pixels = after + sum(2 * len(each) for _, size, each in tags if size == 3 and len(each) > 2)
    for number, size, each in tags:
        content = struct.pack(f"{order}{len(each)}{'H' if size == 3 else 'I'}", *each)
        if number == 273:
            content = struct.pack(f"{order}I", place_of_pixels)
        if len(content) > 4:
            place, more = after + len(more), more + content
            content = struct.pack(f"{order}I", place)
        entries += struct.pack(f"{order}HHI", number, size, len(each)) + content.ljust(4, b"\0")
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    return start + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + more + pixels


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    return saved(scene().transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=100, subsampling=0)


def on_transparent(alpha):
    """The scene, seen through; what is transparent has a colour that must not show."""
    seen = np.any(np.asarray(scene()), axis=2)
    pixels = np.where(seen[..., None], [*COLOUR, alpha], [255, 255, 255, 0]).astype(np.uint8)
    return Image.fromarray(pixels)


def transparent_palette():
    image = scene().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    return saved(image, "PNG", transparency=int(np.asarray(image)[15, 15]))


def with_preview():
    return saved(scene(), "MPO", save_all=True, append_images=[Image.new("RGB", (16, 16), "white")], quality=100)


GARBAGE = np.random.default_rng(0).bytes(1_280_000)
# Metadata are not the picture, whatever is in them.
METADATA = {
    "exif of garbage": with_chunk(chunk(b"eXIf", GARBAGE[:300])),
    "exif of garbage, as TIFF": with_chunk(chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff" + GARBAGE[:300])),
    "exif with a wrong checksum": with_chunk(chunk(b"eXIf", GARBAGE[:300])[:-1] + b"!"),
    "colour profile of more than a megabyte": saved(scene(), "PNG", icc_profile=GARBAGE),
    "colour profile that cannot be unpacked": with_chunk(chunk(b"iCCP", b"a\0\0" + GARBAGE[:99])),
    "text of more than a megabyte": with_chunk(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(5_000_000)))),
    "a hundred megabytes of texts": with_chunk(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 100),
    "text with a wrong checksum": with_chunk(chunk(b"tEXt", b"a\0b")[:-1] + b"!"),
    "resolution and date that are short": with_chunk(chunk(b"pHYs", b"1"), chunk(b"tIME", b"")),
    "jpeg with exif of garbage": saved(scene(), "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + GARBAGE[:99]),
    "jpeg with a colour profile": saved(scene(), "JPEG", quality=100, subsampling=0, icc_profile=GARBAGE),
    "jpeg with a part of a profile": with_segment(0xE2, b"ICC_PROFILE\0"),
    "jpeg with a broken index of previews": with_segment(0xE2, b"MPF\0" + GARBAGE[:50]),
    "jpeg with resources of garbage": with_segment(0xED, b"Photoshop 3.0\x008BIM" + GARBAGE[:50]),
    "webp with exif of garbage": saved(scene(), "WEBP", lossless=True, exif=b"Exif\0\0" + GARBAGE[:99]),
    "webp with a colour profile": saved(scene(), "WEBP", lossless=True, icc_profile=GARBAGE),
}


def turned_png():
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(scene().transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif, icc_profile=GARBAGE)


READ = {
    **{kind: (content, COLOUR) for kind, content in METADATA.items()},
    "exif of a png": (turned_png(), COLOUR),
    "jpeg": (saved(scene(), "JPEG", quality=100, subsampling=0), COLOUR),
    "webp": (saved(scene(), "WEBP", lossless=True), COLOUR),
    "exif": (turned(), COLOUR),
    "palette": (saved(scene().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"), COLOUR),
    "transparent palette": (transparent_palette(), COLOUR),
    "transparent": (saved(on_transparent(255), "PNG"), COLOUR),
    "half transparent": (saved(on_transparent(128), "PNG"), COLOUR * 128 / 255),
    "transparent webp": (saved(on_transparent(255), "WEBP", lossless=True), COLOUR),
    "cmyk": (saved(scene().convert("CMYK"), "JPEG", quality=100), COLOUR),
    "grey": (saved(grey_scene(), "PNG"), GREY),
    "grey jpeg": (saved(grey_scene(), "JPEG", quality=100), GREY),
    "grey of 16 bits": (saved(Image.fromarray(np.asarray(grey_scene()).astype(np.uint16) * 257), "PNG"), GREY),
    "colours of 16 bits": (png_of_16_bits(2, [*(COLOUR * 257)]), COLOUR),
    "transparent 16 bits": (png_of_16_bits(6, [*(COLOUR * 257), 65535]), COLOUR),
    "grey of 16 bits, opaque": (png_of_16_bits(4, [GREY * 257, 65535]), GREY),
    "black and white": (saved(grey_scene().point(lambda v: 255 * (v > 60)).convert("1"), "PNG"), 255),
    "with a preview": (with_preview(), COLOUR),
    "large": (saved(scene(512), "PNG"), COLOUR),
    "small": (saved(scene(8), "PNG"), COLOUR),
}
DEEP = Image.fromarray(np.asarray(grey_scene()).astype(np.uint16) * 257)
READ |= {
    "tiff": (saved(scene(), "TIFF"), COLOUR),
    "tiff, compressed": (saved(scene(), "TIFF", compression="tiff_lzw"), COLOUR),
    "tiff of a palette": (saved(scene().convert("P", palette=Image.Palette.ADAPTIVE), "TIFF"), COLOUR),
    "tiff of cmyk": (saved(scene().convert("CMYK"), "TIFF"), COLOUR),
    "tiff of grey": (saved(grey_scene(), "TIFF"), GREY),
    "tiff of grey in 16 bits": (saved(DEEP, "TIFF"), GREY),
    "tiff of grey in 16 bits, big-endian": (tiff(1, [GREY * 257], order=">"), GREY),
    "tiff of colours in 16 bits": (tiff(2, [*(COLOUR * 257)]), COLOUR),
    "tiff of colours in 16 bits, big-endian": (tiff(2, [*(COLOUR * 257)], order=">"), COLOUR),
    "tiff, half transparent": (saved(on_transparent(128), "TIFF"), COLOUR * 128 / 255),
    "tiff, turned": (saved(scene().transpose(Image.Transpose.ROTATE_90), "TIFF", tiffinfo={0x0112: 6}), COLOUR),
}
FRAMES = {"save_all": True, "append_images": [Image.new("RGB", (16, 16), "white")]}
REFUSED = {
    **{
        f"8 bits as 16, kind {kind}": (png_of_16_bits(kind, values), "16 bits a sample, all below 4096: scale them")
        for kind, values in ((0, [GREY]), (2, [*COLOUR]), (4, [GREY, 255]), (6, [*COLOUR, 65535]))
    },
    "animated png": (saved(scene(), "PNG", **FRAMES), "an animation of 2 pictures; allowed: one picture"),
    "animated webp": (saved(scene(), "WEBP", **FRAMES), "an animation of 2 pictures; allowed: one picture"),
    "gif": (saved(scene(), "GIF"), "not an image; allowed: png, jpeg, webp, tiff"),
    "text": (b"no picture", "not an image; allowed: png, jpeg, webp, tiff"),
    "empty": (b"", "not an image; allowed: png, jpeg, webp, tiff"),
    "tiff of two pages": (saved(scene(), "TIFF", **FRAMES), "a TIFF of 2 pages; allowed: one picture"),
    "tiff of 8 bits as 16": (tiff(1, [GREY]), "16 bits a sample, all below 4096: scale them"),
    "tiff of 16 bits, white is zero": (tiff(0, [GREY * 257]), "a TIFF of 16 bits in which white is zero; allowed:"),
    "tiff of floating-point numbers": (tiff(1, [0.5], 32, sample_format=3), "pixels of the kind F; allowed: grey or"),
    "tiff of signed numbers": (tiff(1, [GREY * 257], sample_format=2), "pixels of the kind I; allowed: grey or"),
    "tiff of five bands": (tiff(1, [GREY] * 5, 8), "not a whole image: cannot be identified; of TIFF, read are grey, "),
    "tiff of garbage": (b"II*\0" + GARBAGE[:300], "not a whole image"),
    "truncated tiff": (saved(scene(64), "TIFF")[:-300], "not a whole image"),
    "truncated tiff, compressed": (saved(scene(64), "TIFF", compression="tiff_lzw")[:-200], "not a whole image"),
    "truncated png": (saved(scene(64), "PNG")[:-30], "not a whole image"),
    "truncated jpeg": (saved(scene(64), "JPEG")[:-9], "not a whole image"),
    "truncated webp": (saved(scene(64), "WEBP", lossless=True)[:-9], "not a whole image"),
    "header alone": (saved(scene(), "PNG")[:40], "not a whole image"),
    "grey of 16 bits, transparent": (
        saved(Image.fromarray(np.asarray(grey_scene()).astype(np.uint16) * 257), "PNG", transparency=0),
        "pixels of the kind I;16; allowed: grey or colours of 8 or 16 bits",
    ),
}


def in_folder(path, content):
    (path / "all" / "a").mkdir(parents=True)
    (path / "all" / "a" / "x.png").write_bytes(content)
    return path / "all", path / "all" / "a" / "x.png"


def in_tar(path, content):
    write_tar(path / "x.tar", [("x.cls", b"a"), ("x.png", content)])
    return path / "x.tar", f"{path / 'x.tar'}: member 'x.png'"


def in_table(path, content):
    write_table(path / "x.parquet", [content], ["a"])
    return path / "x.parquet", f"{path / 'x.parquet'}: row 1"


@pytest.mark.parametrize("kind", READ)
def test_it_is_read_as_it_looks(tmp_path, kind):
    content, colour = READ[kind]
    source, _ = in_folder(tmp_path, content)
    (image,) = read_pictures(find_pictures(str(source)), 16, tmp_path).images.astype(float)
    off = 30 if kind == "small" else 4  # the filter that enlarges swings over at edges
    assert np.abs(image[2:6, 2:6] - colour).max() <= off, image[4, 4]
    for rows, columns in (((2, 6), (10, 14)), ((10, 14), (2, 6)), ((10, 14), (10, 14))):
        assert image[slice(*rows), slice(*columns)].max() <= off


@pytest.mark.parametrize("place", [in_folder, in_tar, in_table])
@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_by_its_place(tmp_path, kind, place):
    content, told = REFUSED[kind]
    source, where = place(tmp_path, content)
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        read_pictures(find_pictures(str(source)), 16, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{where}: {told}") and len(message.splitlines()) == 1
    assert set(tmp_path.rglob("*")) == before, "nothing is written"


def test_white_is_zero_where_a_tiff_of_8_bits_says_so():
    image = decode_picture(tiff(0, [255 - GREY], 8), "a.tif")
    assert (image[:8, :8] == GREY).all() and (image[8:] == 255).all()


def test_a_tiff_in_a_tar_has_its_own_ending(tmp_path):
    write_tar(tmp_path / "x.tar", [("x.cls", b"a"), ("x.tif", saved(scene(), "TIFF"))])
    (image,) = read_pictures(find_pictures(str(tmp_path / "x.tar")), 16, tmp_path).images
    assert np.array_equal(image, np.asarray(scene()))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 48), (48, 16), (17, 15)])
def test_a_size_that_does_not_fit_is_cut_to_its_middle(tmp_path, height, width):
    """The middle square of stripes across the longer side has the colours of its ends."""
    side = min(height, width)
    pixels = np.zeros((height, width, 3), np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    pixels[top : top + side, left : left + side] = COLOUR
    source, _ = in_folder(tmp_path, saved(Image.fromarray(pixels), "PNG"))
    (image,) = read_pictures(find_pictures(str(source)), 16, tmp_path).images
    assert image.shape == (16, 16, 3)
    inner = image[4:12, 4:12].astype(int)
    assert np.abs(inner - COLOUR).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_turned_upright(orientation):
    """As Pillow does it, of which nothing else is asked: it refuses pictures whose other metadata it cannot write."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 3), np.uint8)
    content = saved(Image.fromarray(pixels), "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert np.array_equal(decode_picture(content, "a.png"), np.asarray(expected))
    assert np.array_equal(decode_image(content, "png", "a.png"), pixels), "a shard's images are taken as they lie"

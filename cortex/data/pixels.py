"""Images as the bytes of a file: PNG, JPEG, WebP, TIFF. Bytes from elsewhere are decoded only if their size is sane."""

import io
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from cortex.core.errors import InputError, reason_of

ImageFormat = Literal["png", "jpeg", "webp"]
EXTENSIONS: dict[ImageFormat, str] = {"png": "png", "jpeg": "jpg", "webp": "webp"}
FORMATS: dict[str, ImageFormat] = {extension: name for name, extension in EXTENSIONS.items()}
# What a user's own pictures may be, too: no shard has TIFF.
PICTURES: dict[str, str] = {**FORMATS, "tif": "tiff"}
MAX_PIXELS = 1 << 24
MAX_BYTES = 1 << 26  # of an image's file
DARK = 16  # of 255: samples of 16 bits that are all darker were never scaled to 16 bits
PNG_OF_PIXELS = (b"tRNS", b"acTL", b"fcTL", b"fdAT")  # transparency and animation, beside the critical chunks
JPEG_KEPT = (0xE0, 0xE1, 0xEE)  # JFIF, EXIF and Adobe's, which state the kind of colours, of applications' segments
ORIENTATION = 0x0112  # EXIF's number of it
TURNS = dict(enumerate(map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), start=2))  # what each orientation needs
ENCODERS = 4  # threads to encode images in, Pillow's work being outside the lock: PNG takes as long as a GPU's sampling

_STARTS = {"jpeg": (b"\xff\xd8\xff",), "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")}
TIFF_BITS, TIFF_MEANING = 258, 262  # TIFF's numbers of the bits a sample, and of what a sample means: 0: white is zero
_PNG_START = re.compile(rb"\x89PNG\r\n\x1a\n....IHDR(........)", re.DOTALL)
# Of a WebP's three kinds: lossy, lossless, and with more parts (such as a colour profile).
_WEBP_START = re.compile(
    rb"RIFF....WEBP(?:VP8 .{4}.{3}\x9d\x01\x2a(.{4})|VP8L.{4}\x2f(.{4})|VP8X.{4}.{4}(.{6}))", re.DOTALL
)


@dataclass(frozen=True)
class EncodedImage:
    """An image as the bytes of a file, and the ending of the file's name."""

    extension: str
    content: bytes


def encode_image(image: NDArray[np.uint8], name: ImageFormat = "png", quality: int = 95) -> EncodedImage:
    """Encode an image uint8 ``[H, W, 3]``.

    Args:
        image: the image.
        name: png (lossless), jpeg or webp (lossy).
        quality: of jpeg and webp, 1 (worst) to 100.
    """
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=name, **({} if name == "png" else {"quality": quality}))
    return EncodedImage(EXTENSIONS[name], buffer.getvalue())


def read_image(path: Path) -> NDArray[np.uint8]:
    """An image uint8 ``[H, W, 3]`` of a user's own: PNG, JPEG, WebP or TIFF by its content, whatever its name; upright.

    Raises:
        InputError: it is missing, no such image, damaged, or larger than :data:`MAX_BYTES` or :data:`MAX_PIXELS`.
    """
    return decode_picture(read_content(path), str(path))


def read_content(path: Path) -> bytes:
    """The bytes of an image's file.

    Raises:
        InputError: it is missing, or larger than :data:`MAX_BYTES`.
    """
    if not path.is_file():
        raise InputError(f"{path}: {'a folder, and no file' if path.is_dir() else 'no such file'}")
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES} bytes")
    return content


def decode_picture(content: bytes, where: str) -> NDArray[np.uint8]:
    """A picture uint8 ``[H, W, 3]`` of a user's own, upright, of the bytes of a PNG, JPEG, WebP or TIFF by content.

    Raises:
        InputError: as :func:`decode_image`, or it is no such image; ``where`` is named.
    """
    for extension, name in PICTURES.items():
        if _size_in_header(content, name) is not None:
            return decode_image(content, extension, where, upright=True)
    raise InputError(f"{where}: not an image; allowed: {', '.join(PICTURES.values())}")


def fitted(image: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The middle of an image, of the ratio of ``shape`` (height, width), resized to it without aliasing."""
    if image.shape[:2] == shape:
        return image
    return np.array(ImageOps.fit(Image.fromarray(image), shape[::-1], Image.Resampling.LANCZOS))


def decode_image(content: bytes, extension: str, where: str, *, upright: bool = False) -> NDArray[np.uint8]:
    """An image uint8 ``[H, W, 3]`` from the bytes of a file, black where it is transparent.

    Args:
        content: the bytes.
        extension: png, jpg, webp or tif.
        where: the file or member, which is named in errors.
        upright: turn it as its EXIF data say, as cameras mean it; a shard's images are taken as they lie.

    Raises:
        InputError: it is damaged, animated, of another format than its extension says, of numbers that are no colours,
            or larger than :data:`MAX_PIXELS`.
    """
    name = PICTURES[extension]
    size = _size_in_header(content, name)
    if size is None:
        raise InputError(f"{where}: not a {'WebP' if name == 'webp' else name.upper()} image")
    _check_pixels(size, where)
    try:
        with Image.open(io.BytesIO(_without_metadata(content, name)), formats=[name]) as image:
            _check_pixels(image.size, where)
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                several = f"a TIFF of {frames} pages" if name == "tiff" else f"an animation of {frames} pictures"
                raise InputError(f"{where}: {several}; allowed: one picture")
            deep = _has_16_bits(image, content, name, where)
            shown = _in_8_bits(_upright(image) if upright else image, where)
            if deep and np.asarray(shown.convert("RGB")).max() < DARK:
                raise InputError(f"{where}: 16 bits a sample, all below {DARK << 8}: scale them to 0 to 65535")
            if shown.has_transparency_data:  # RGB alone would show the colours that are hidden
                shown = Image.alpha_composite(Image.new("RGBA", shown.size, "black"), shown.convert("RGBA"))
            return np.array(shown.convert("RGB"))
    except InputError:
        raise
    except UnidentifiedImageError:
        kinds = "; of TIFF, read are grey, palette, RGB and CMYK, of 8 or 16 bits" if name == "tiff" else ""
        raise InputError(f"{where}: not a whole image: cannot be identified{kinds}") from None
    except Exception as error:  # damaged files raise much besides OSError: ValueError, SyntaxError, zlib.error ...
        raise InputError(f"{where}: not a whole image: {reason_of(error)}") from None


def _has_16_bits(image: Image.Image, content: bytes, name: str, where: str) -> bool:
    """Whether samples have 16 bits."""
    if name != "tiff":
        return name == "png" and content[24] == 16
    tags: Any = image.getexif()
    bits = tags.get(TIFF_BITS, 1)
    deep = 16 in (bits if isinstance(bits, tuple) else (bits,))
    if deep and tags.get(TIFF_MEANING) == 0:  # Pillow would show the negative
        raise InputError(f"{where}: a TIFF of 16 bits in which white is zero; allowed: black is zero")
    return deep


def _in_8_bits(image: Image.Image, where: str) -> Image.Image:
    """The image, of grey in 16 bits their upper 8, as Pillow reads colours of 16 bits."""
    if not image.mode.startswith(("I", "F")):
        return image
    if not image.mode.startswith("I;16") or image.has_transparency_data:
        raise InputError(f"{where}: pixels of the kind {image.mode}; allowed: grey or colours of 8 or 16 bits")
    return Image.fromarray((np.asarray(image, np.uint16) >> 8).astype(np.uint8))


def _upright(image: Image.Image) -> Image.Image:
    """The image, turned as its EXIF data say, if they can be read."""
    image.load()  # here, where an error is told
    try:
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # as many kinds as there are ways to write EXIF data wrong
        return image
    return image if turn is None else image.transpose(turn)


def _without_metadata(content: bytes, name: str) -> bytes:
    """The file without most metadata. Pillow refuses pictures whose metadata are damaged or large."""
    if name in ("webp", "tiff"):
        return content  # Pillow does not look into them; a TIFF's are its numbers of rows and columns, too
    place = 8 if name == "png" else 2
    kept = [content[:place]]
    while len(head := content[place : place + 8]) == 8:
        if name == "png":  # a chunk: length, kind, content, checksum
            part = content[place : place + 12 + int.from_bytes(head[:4])]
            wanted = head[4:5].isupper() or head[4:] in PNG_OF_PIXELS
            wanted |= head[4:] == b"eXIf" and zlib.crc32(part[4:-4]).to_bytes(4) == part[-4:]
        elif head[0] == 0xFF and 0xC0 <= head[1] < 0xFF and not 0xD0 <= head[1] <= 0xDA:  # a segment: kind, length
            part = content[place : place + 2 + int.from_bytes(head[2:4])]
            wanted = head[1] in JPEG_KEPT or not 0xE0 <= head[1] <= 0xEF
        else:
            break
        kept += [part] * wanted
        place += len(part)
    return b"".join([*kept, content[place:]])


def _check_pixels(size: tuple[int, int], where: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(f"{where}: {width}×{height} pixels; at most {MAX_PIXELS} allowed")


def _size_in_header(content: bytes, name: str) -> tuple[int, int] | None:
    """(width, height) as the first bytes say, None if they are not those of the format.

    Pillow reserves memory for a PNG or WebP before it tells their size. The sizes of JPEG and TIFF come later in the
    file; for them Pillow tells the size first, and (0, 0) stands here.
    """
    if name in _STARTS:
        return (0, 0) if content.startswith(_STARTS[name]) else None
    if name == "png":
        start = _PNG_START.match(content)
        return struct.unpack(">II", start[1]) if start else None
    start = _WEBP_START.match(content)
    if start is None:
        return None
    lossy, lossless, extended = start.groups()
    if lossy:
        width, height = struct.unpack("<HH", lossy)
        return width & 0x3FFF, height & 0x3FFF
    if lossless:
        bits = int.from_bytes(lossless, "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(extended[:3], "little") + 1, int.from_bytes(extended[3:], "little") + 1

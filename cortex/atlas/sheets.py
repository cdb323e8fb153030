"""Pictures side by side in one file, of which the page shows parts."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cortex.data.pixels import EncodedImage, ImageFormat, encode_image

Pixels = NDArray[np.uint8]


def sheet(pictures: Sequence[Pixels], columns: int) -> Pixels:
    """Pictures of one size, row by row in so many columns; black where the last row is not full.

    Args:
        pictures: uint8 ``[H, W, 3]`` each.
        columns: pictures of a row.
    """
    height, width, colours = pictures[0].shape
    rows = -(-len(pictures) // columns)
    found = np.zeros((rows, height, columns, width, colours), np.uint8)
    for place, picture in enumerate(pictures):
        found[place // columns, :, place % columns] = picture
    return found.reshape(rows * height, columns * width, colours)


def write_sheet(folder: Path, name: str, pictures: Sequence[Pixels], columns: int, kind: ImageFormat = "png") -> str:
    """Write a sheet below the folder; the file's path from there.

    Args:
        folder: of the atlas.
        name: of the file, without its ending.
        pictures: of the sheet, one at least.
        columns: pictures of a row.
        kind: format of the file.
    """
    encoded: EncodedImage = encode_image(sheet(pictures, min(columns, len(pictures))), kind)
    path = folder / f"{name}.{encoded.extension}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded.content)
    return str(path.relative_to(folder))


def patch_of(content: bytes | None, size: tuple[int, int]) -> Pixels:
    """A patch of the table of codes; black where there is none.

    Args:
        content: of a PNG file.
        size: rows and columns of the patch.
    """
    if content is None:
        return np.zeros((*size, 3), np.uint8)
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)

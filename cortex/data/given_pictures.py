"""Pictures that stand beside imported grids: an array, or a column of image files of the grids' Parquet file.

They are taken as they are. A token covers a tile of its picture, so the sides of a picture are multiples of the grid's.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.core.errors import InputError
from cortex.data import picture_tables
from cortex.data.packed import map_array
from cortex.data.picture_sources import Content
from cortex.data.pixels import decode_picture

Given = tuple[str, Content]  # the place of a picture, for errors, and an image's file or an image uint8 [H, W, 3]


def given_pictures(pictures: str, source: Path) -> Iterator[Given]:
    """The pictures of every row, in the rows' order.

    Args:
        pictures: .npy file of uint8 [N, H, W, 3]; or image, the column of the source.
        source: file of the grids.

    Raises:
        InputError: the file or the column is missing, damaged or of another kind.
    """
    if not pictures.endswith(".npy"):
        return picture_tables.contents([source])
    array = map_array(Path(pictures), "pictures")
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        raise InputError(f"{pictures}: {array.dtype} of {array.shape}; expected uint8 of (N, H, W, 3)")
    return ((f"{pictures}: row {row}", image) for row, image in enumerate(array, 1))


def picture_size(pictures: str, source: Path, grid: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of the first picture.

    Raises:
        InputError: there is none, it cannot be read, or its sides are no multiples of the grid's.
    """
    for given in given_pictures(pictures, source):
        height, width, _ = decoded(given, grid).shape
        return height, width
    raise InputError(f"{pictures}: no pictures")


def decoded(given: Given, grid: tuple[int, int], size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """A picture uint8 ``[H, W, 3]``.

    Args:
        given: the picture.
        grid: (h, w) of the token grid.
        size: (H, W) that it should have, that of those before it.

    Raises:
        InputError: it cannot be read, has another size, or its sides are no multiples of the grid's.
    """
    where, content = given
    image = decode_picture(content, where) if isinstance(content, bytes) else np.array(content)
    height, width = image.shape[:2]
    if size is not None and (height, width) != size:
        raise InputError(f"{where}: a picture of {width}×{height} pixels; those before it have {size[1]}×{size[0]}")
    if 0 in (height, width) or height % grid[0] or width % grid[1]:
        tiles = f"the grid's {grid[1]}×{grid[0]} tokens"
        raise InputError(f"{where}: a picture of {width}×{height} pixels, no multiple of {tiles}")
    return image

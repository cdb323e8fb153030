"""Images cut into the patches that the positions of a grid cover."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def patches_of(images: NDArray[np.uint8], grid: tuple[int, ...]) -> NDArray[Any]:
    """Patches ``[N, P, H/h, W/w, 3]`` of images ``[N, H, W, 3]``, row-major.

    Args:
        images: of one size.
        grid: (h, w); a position covers H/h × W/w pixels.
    """
    (height, width), (count, rows, columns, _) = grid, images.shape
    blocks = images.reshape(count, height, rows // height, width, columns // width, 3)
    return blocks.swapaxes(2, 3).reshape(count, height * width, rows // height, columns // width, 3)

"""Held-out satellite photographs of ten classes of land use (EuroSAT; licence and origin stand in this folder)."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cortex.generators.class_names import read_class_names

FOLDER = Path(__file__).parent
PHOTOGRAPHS = FOLDER / "photographs.parquet"
CLASS_NAMES = tuple(read_class_names(FOLDER / "class_names.txt"))


def photographs() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 ``[300, 64, 64, 3]`` and their class indices int64 ``[300]``, by class.

    No network that ships with this package was trained on them.
    """
    from cortex.data.picture_sources import find_pictures
    from cortex.data.pixels import decode_picture

    source = find_pictures(str(PHOTOGRAPHS))
    images = [decode_picture(content, where) for where, content in source.contents() if isinstance(content, bytes)]
    return np.stack(images), source.labels

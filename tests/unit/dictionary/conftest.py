"""What several test files share: packed grids of lists."""

import numpy as np
import pytest

from cortex.data.packed import packed_dtype


@pytest.fixture
def packed():
    """A function that packs grids ``[N, h, w]`` with their labels."""

    def pack(labels, grids):
        grids = np.asarray(grids)
        records = np.zeros(len(grids), packed_dtype(grids.shape[1:]))
        records["label"], records["grid"] = labels, grids
        return records

    return pack

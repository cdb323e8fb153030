"""What a training sees of the pictures."""

import numpy as np
import torch

from cortex.recipes.pictures import pictures_at, place_images


def test_rows_become_numbers_between_minus_one_and_one():
    images = np.stack([np.full((8, 8, 3), level, np.uint8) for level in (0, 51, 255)])
    found = place_images(pictures_at(images, torch.tensor([2, 0, 1, 1])), torch.device("cpu"))
    assert found.shape == (4, 3, 8, 8) and found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found[:, 0, 0, 0], torch.tensor([1.0, -1.0, -0.6, -0.6]))
    assert images[0].max() == 0, "the pictures themselves stay"

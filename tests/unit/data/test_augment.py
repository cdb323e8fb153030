"""Random changes of pictures."""

import numpy as np
import torch

from cortex.data.augment import augment, jitter
from cortex.data.digits import digit_images


def test_flips_and_turns_are_the_eight_of_a_square():
    """Each variant is one of the eight, all occur, and the flip alone gives two."""
    images = torch.arange(16.0).view(1, 1, 4, 4).repeat(400, 3, 1, 1)
    eight = [images[0].rot90(turn, (1, 2)) for turn in range(4)]
    eight += [each.flip(2) for each in eight]
    found = augment(images, "flips_and_turns", torch.Generator().manual_seed(0))
    which = [next(n for n, each in enumerate(eight) if torch.equal(image, each)) for image in found]
    assert np.bincount(which, minlength=8).min() > 400 / 8 / 2
    flipped = augment(images, "flip", torch.Generator().manual_seed(0))
    assert {n for image in flipped for n, each in enumerate(eight) if torch.equal(image, each)} == {0, 4}
    assert torch.equal(augment(images, "none", torch.Generator()), images)


def test_jitter_moves_digits_over_black():
    images = torch.from_numpy(digit_images("held_out")[0][:20]).permute(0, 3, 1, 2) / 127.5 - 1
    moved = augment(images, "jitter", torch.Generator().manual_seed(0))
    assert not torch.equal(moved, images)
    torch.testing.assert_close(moved[:, :, 0, 0], torch.full((20, 3), -1.0))
    assert torch.equal(moved, jitter(images, torch.Generator().manual_seed(0)))
    # A digit keeps about as much ink as its change of size explains.
    ink = (moved + 1).sum((1, 2, 3)) / (images + 1).sum((1, 2, 3))
    assert ((ink > 0.75) & (ink < 1.35)).all()

"""Measurable properties of pictures: functions of images uint8 ``[B, H, W, 3]`` that give a number each, ``[B]``."""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Numbers = NDArray[np.float64]

LUMINANCE = np.array([0.299, 0.587, 0.114])  # of red, green and blue (ITU-R BT.601)


def haze(images: Images) -> Numbers:
    """The blue haze of photographs from above: light that the air scatters, laid over the image as a veil.

    The veil brightens the darkest parts of an image, blue most of all, and lowers the contrast. So haze is, in grey
    levels: half the floor of blue, plus the excess of that floor over the higher one of red and green, minus a tenth of
    the contrast. A channel's floor is its 5th percentile. The excess tells haze from bright ground, whose floors are
    high in all channels.
    """
    red, green, blue = np.percentile(images.reshape(len(images), -1, 3), 5, axis=1).T
    haze: Numbers = blue / 2 + (blue - np.maximum(red, green)) - contrast(images) / 10
    return haze


def brightness(images: Images) -> Numbers:
    """Mean luminance, 0 (black) to 255."""
    return _luminance(images).mean(1)


def contrast(images: Images) -> Numbers:
    """Distance of the 5th and the 95th percentile of the luminance, 0 to 255."""
    low, high = np.percentile(_luminance(images), [5, 95], axis=1)
    distance: Numbers = high - low
    return distance


def _luminance(images: Images) -> Numbers:
    """``[B, H·W]``."""
    luminance: Numbers = images.reshape(len(images), -1, 3) @ LUMINANCE
    return luminance

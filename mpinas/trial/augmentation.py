"""What is changed about the images of an epoch: drawn here, done to the pixels on the device.

numpy only. The draws follow from the trial's seed and the epoch alone, so that they are the same
on every device and whatever the batches are. ``trial/inputs.py`` applies them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpinas.config import AugmentConfig
from mpinas.streams import stream

Changes = npt.NDArray[np.float32]
"""(images, ``len(COLUMNS)``); zeros leave an image as it is."""

COLUMNS = ("flip", "down", "right", "brightness", "contrast", "saturation")
"""1 for mirrored left to right; pixels moved down and right, whole numbers; grey levels added;
what is added to 1 before differences from the mean, and from grey, are multiplied with it."""

GREY_LEVELS = 255.0
RGB_CHANNELS = 3
_AUGMENT_ROLE = 2  # of the random streams of a trial; its weights and batches have others


def unchanged(images: int) -> Changes:
    """Changes that change nothing."""
    return np.zeros((images, len(COLUMNS)), np.float32)


def draw_changes(
    augment: AugmentConfig, images: int, image_shape: tuple[int, int, int], *, seed: int, epoch: int
) -> Changes:
    """Changes for the copies of an epoch: the originals first, then each further copy of all.

    Args:
        images: how many originals there are.
        image_shape: ``(height, width, channels)``. Only RGB images have a saturation.
        seed: of the trial.

    Returns:
        (copies x images, ``len(COLUMNS)``); the first ``images`` rows are zeros.
    """
    height, width, channels = image_shape
    variants = (augment.copies - 1) * images
    drawn = stream(seed, _AUGMENT_ROLE, epoch).random((variants, len(COLUMNS)))
    flips, down, right, *colours = drawn.T
    ranges = (
        GREY_LEVELS * augment.brightness,
        augment.contrast,
        augment.saturation if channels == RGB_CHANNELS else 0.0,
    )
    columns = (
        (flips < 0.5) & augment.flip,
        _whole_pixels(down, int(augment.shift * height)),
        _whole_pixels(right, int(augment.shift * width)),
        *((2 * column - 1) * largest for column, largest in zip(colours, ranges, strict=True)),
    )
    return np.concatenate([unchanged(images), np.stack(columns, axis=1).astype(np.float32)])


def _whole_pixels(drawn: npt.NDArray[np.float64], most: int) -> npt.NDArray[np.float64]:
    """Numbers in 0..1 to -most..most, each equally often."""
    return np.minimum(np.floor(drawn * (2 * most + 1)), 2 * most) - most

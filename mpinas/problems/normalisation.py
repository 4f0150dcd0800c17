"""Mean and spread of a data set's channels: what images are normalised with. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpinas.problems.images import Images
from mpinas.problems.splits import Indices

Statistics = npt.NDArray[np.float32]

_LEVELS = np.arange(256)
_CHUNK_IMAGES = 2048


def channel_statistics(images: Images, indices: Indices) -> tuple[Statistics, Statistics]:
    """Mean and standard deviation of each channel over all pixels of the chosen images.

    Counts grey levels in whole numbers, so that the result does not depend on the order.

    Args:
        images: (N, height, width, channels), possibly mapped; read a chunk at a time.
        indices: of the images that count, at least one: the training part of the split.

    Returns:
        Two arrays (channels,), in grey levels 0..255. The deviation of a constant channel is 1,
        so that it can be divided by.
    """
    counts = np.zeros((images.shape[3], len(_LEVELS)), np.int64)
    for start in range(0, len(indices), _CHUNK_IMAGES):
        chunk = images[indices[start : start + _CHUNK_IMAGES]]
        for channel, row in enumerate(counts):
            row += np.bincount(chunk[..., channel].reshape(-1), minlength=len(_LEVELS))
    pixels = counts.sum(axis=1)
    mean = counts @ _LEVELS / pixels
    deviation = np.sqrt(np.maximum(counts @ _LEVELS**2 / pixels - mean**2, 0.0))
    deviation[counts.max(axis=1) == pixels] = 1.0
    return mean.astype(np.float32), deviation.astype(np.float32)

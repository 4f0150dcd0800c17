"""Batches of normalised images, straight from the mapped file. numpy only.

A trial holds no copy of the data set: the file's pages are shared by all trials of a machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mpinas.problems.images import Images, Labels
from mpinas.problems.normalisation import Statistics
from mpinas.problems.splits import Indices
from mpinas.streams import stream

Batch = tuple[npt.NDArray[np.float32], Labels]
_BATCHES_ROLE = 1  # of the random streams of a trial; its weights have another


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batches:
    """One pass over a part of the data.

    Attributes:
        images, labels: of the whole data set; ``order`` chooses from them.
        order: indices in the order they are visited.
        mean, deviation: per channel; images are given as (image - mean) / deviation.
        batch_size: images in each batch; the last may have fewer.
    """

    images: Images
    labels: Labels
    order: Indices
    mean: Statistics
    deviation: Statistics
    batch_size: int

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """Images (batch, height, width, channels) float32 and labels (batch,) int32."""
        chosen = self.order[step * self.batch_size : (step + 1) * self.batch_size]
        images = self.images[chosen].astype(np.float32)
        images -= self.mean
        images /= self.deviation
        return images, self.labels[chosen]

    def shuffled(self, seed: int, epoch: int) -> Batches:
        """The same images in the order of that epoch; equal for equal seed and epoch."""
        rng = stream(seed, _BATCHES_ROLE, epoch)
        return replace(self, order=rng.permutation(self.order))

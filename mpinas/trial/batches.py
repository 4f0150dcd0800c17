"""Batches of images as they lie in the mapped file, and what else a training step is given.

numpy only. A trial holds no copy of the data set: the file's pages are shared by all trials of a
machine, and only the batches of the next steps are gathered from them. Pixels stay uint8 until
they are on the device (``trial/inputs.py``), a quarter of the bytes to move.
"""

from __future__ import annotations

import math
import pathlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mpinas.config import AugmentConfig
from mpinas.errors import DataFault, fault
from mpinas.problems.images import Images, Labels
from mpinas.problems.normalisation import Statistics, channel_statistics
from mpinas.problems.prepared import open_prepared
from mpinas.problems.splits import Indices, split
from mpinas.problems.staging import staged
from mpinas.records import ProblemSpec, canonical_json
from mpinas.streams import stream
from mpinas.trial import folders
from mpinas.trial.augmentation import Changes, draw_changes, unchanged

Batch = tuple[npt.NDArray[Any], ...]
_NEVER_TRAINED = 2**31 - 1  # the epoch of an order that no training has
_BATCHES_ROLE = 1  # of the random streams of a trial; its weights have another


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batches:
    """One pass over a part of the data.

    Attributes:
        images, labels: ``order`` chooses from them.
        order: numbers of images in the order they are visited; those of ``augment.copies``
            copies before they are shuffled: all originals first.
        batch_size: images in each batch; the last may have fewer.
        augment: what is done to further copies.
        changes: what is changed about each image of ``order``; None where nothing ever is.
        resident: numbers, ascending, of images that the device has, so that a batch need not
            bring them; None where it has none.
    """

    images: Images
    labels: Labels
    order: Indices
    batch_size: int
    augment: AugmentConfig
    changes: Changes | None = None
    resident: Indices | None = None

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """What the model is given at that step, and the labels (batch,) int32.

        The model is given images (batch, height, width, channels) uint8, or, if they are
        resident, their places among those (batch,) int64; and the changes, where there are any.
        """
        part = slice(step * self.batch_size, (step + 1) * self.batch_size)
        chosen = self.order[part]
        if self.resident is None:
            pixels: npt.NDArray[Any] = self.images[chosen]
        else:
            pixels = np.searchsorted(self.resident, chosen).astype(np.int64)
        changes = () if self.changes is None else (self.changes[part],)
        return (pixels, *changes, self.labels[chosen])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(height, width, channels)`` of one image."""
        height, width, channels = self.images.shape[1:]
        return height, width, channels

    def shuffled(self, seed: int, epoch: int) -> Batches:
        """All copies in the order of that epoch, drawn anew; equal for equal seed and epoch."""
        places = stream(seed, _BATCHES_ROLE, epoch).permutation(len(self.order))
        changes = self.changes
        if changes is not None:
            originals = len(self.order) // self.augment.copies
            changes = draw_changes(
                self.augment, originals, self.image_shape, seed=seed, epoch=epoch
            )[places]
        return replace(self, order=self.order[places], changes=changes)

    def sample(self, seed: int, most: int) -> list[list[npt.NDArray[Any]]]:
        """What the model is given in up to ``most`` batches of images of all classes.

        Images often lie one class after the other: the order is one of its own.
        """
        mixed = self.shuffled(seed, _NEVER_TRAINED)
        return [list(mixed[step][:-1]) for step in range(min(most, len(mixed)))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Parts:
    """What a trial learns from and is measured on.

    Attributes:
        mean, deviation: (channels,) of the training part, in grey levels.
    """

    training: Batches
    validation: Batches
    mean: Statistics
    deviation: Statistics


def open_parts(problem: ProblemSpec, batch_size: int, *, most_resident_bytes: int = 0) -> Parts:
    """Maps the prepared file, on the node's own disk where the problem says so.

    Args:
        most_resident_bytes: images of the two parts that need no more than that become resident.

    Raises:
        DataFault: the file cannot be opened or not be split, or holds other data by now.
    """
    file = pathlib.Path(problem.path)
    prepared = open_prepared(staged(file, folders.shared()) if problem.stage else file)
    if problem.data not in ("", prepared.checksum):
        rule = "the prepared file was replaced by other data while the search ran"
        cure = "Put back the data that the search began with, and start it again"
        raise DataFault(fault(str(file), rule, f"data={prepared.checksum}", cure=cure))
    training, validation = split(
        prepared.y_train,
        training_images=problem.training_images,
        validation_images=problem.validation_images,
        seed=problem.split_seed,
    )
    augment = AugmentConfig.model_validate_json(canonical_json(problem.augment))
    held_out = Batches(
        images=prepared.x_train,
        labels=prepared.y_train,
        order=validation,
        batch_size=batch_size,
        augment=AugmentConfig(),
        changes=unchanged(len(validation)) if augment.copies > 1 else None,
    )
    used_bytes = math.prod(held_out.image_shape) * (len(training) + len(validation))
    if used_bytes <= most_resident_bytes:
        held_out = replace(held_out, resident=np.sort(np.concatenate([training, validation])))
    copies = np.tile(training, augment.copies)
    mean, deviation = channel_statistics(prepared.x_train, training)
    return Parts(
        training=replace(
            held_out,
            order=copies,
            augment=augment,
            changes=unchanged(len(copies)) if augment.copies > 1 else None,
        ),
        validation=held_out,
        mean=mean,
        deviation=deviation,
    )

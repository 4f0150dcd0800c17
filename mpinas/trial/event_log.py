"""What TensorBoard shows of a trial: event files with losses and accuracies by epoch.

Comes in: numbers that a trial has anyway. Goes out: TFRecord files of ``Event`` messages, with the
names that Keras's callback gives. That callback is not used: it needs the package ``tensorboard``
to write, which TensorFlow does not bring, and a full disk would look to a trial like lack of
memory. No TensorFlow operation runs here, so nothing of a trial can change.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

logger = logging.getLogger(__name__)

FORMAT = "brain.Event:2"
"""What the first message of every event file says."""

TRAINING, VALIDATION, SHRINK = "train", "validation", "shrink"
"""Folders in that of a trial: the curves of one chart."""


class EventLog:
    """The event files of one trial. That they cannot be written is said once and ends nothing.

    Args:
        folder: of the trial; what an earlier attempt left in it is removed. None: nothing is
            written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._writers: dict[str, tf.io.TFRecordWriter] = {}
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """An epoch of training has ended: the ``epoch``-th of the trial, counted from 1."""
        self._write(TRAINING, epoch, {name: row[name] for name in ("loss", "accuracy")})
        validation = {"loss": row["val_loss"], "accuracy": row["val_accuracy"]}
        self._write(VALIDATION, epoch, validation)

    def shrink_epoch(self, epoch: int, row: Mapping[str, float]) -> None:
        """A regularised epoch has ended; its loss has the price of the channels in it."""
        self._write(SHRINK, epoch, {name: row[name] for name in ("loss", "accuracy")})

    def before_cut(self, epoch: int, accuracy: float) -> None:
        """The validation accuracy after the regularised epochs: where its curve begins."""
        self._write(VALIDATION, epoch, {"accuracy": accuracy})

    def _write(self, curve: str, epoch: int, values: Mapping[str, float]) -> None:
        if self._folder is None:
            return
        summary = tf.compat.v1.Summary()
        for name, value in values.items():
            summary.value.add(tag=f"epoch_{name}", simple_value=value)
        event = tf.compat.v1.Event(wall_time=time.time(), step=epoch, summary=summary)
        try:
            writer = self._writer(curve, self._folder)
            writer.write(event.SerializeToString())
            writer.flush()
        except (OSError, tf.errors.OpError) as error:
            logger.warning("%s: no files for TensorBoard: %s", self._folder, error)
            self._give_up()

    def _writer(self, curve: str, folder: Path) -> tf.io.TFRecordWriter:
        if curve not in self._writers:
            place = folder / curve
            place.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
            writer = tf.io.TFRecordWriter(str(place / name))
            first = tf.compat.v1.Event(wall_time=time.time(), file_version=FORMAT)
            self._writers[curve] = writer
            writer.write(first.SerializeToString())
        return self._writers[curve]

    def _give_up(self) -> None:
        self._folder = None
        for writer in self._writers.values():
            with contextlib.suppress(OSError, tf.errors.OpError):
                writer.close()
        self._writers.clear()

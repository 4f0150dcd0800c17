"""Training of one network in a trial, whichever network it is: compiled, fitted, watched.

Comes in: a Keras model from images to logits, and the trial's bench. Comes out: what an observer
wrote down. Knows nothing of shrinking.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy.typing as npt
import tensorflow as tf

from mpinas.config import TrialConfig
from mpinas.errors import DeviceFault
from mpinas.records import Curves, Progress, TrialSpec
from mpinas.trial.batches import Batches, Parts
from mpinas.trial.event_log import EventLog
from mpinas.trial.gpu_memory import memory_limit_mb
from mpinas.trial.inputs import around, one_pass
from mpinas.trial.visible_devices import VISIBLE, named_devices

Array = npt.NDArray[Any]
Report = Callable[[Progress], None]

SGD_MOMENTUM = 0.9
OPTIMIZERS: Mapping[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=SGD_MOMENTUM, nesterov=True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every training of a trial has in common. ``log`` takes what TensorBoard shows."""

    spec: TrialSpec
    settings: TrialConfig
    parts: Parts
    report: Report
    on_gpu: bool
    log: EventLog = field(default_factory=EventLog)

    def optimizer(self) -> keras.optimizers.Optimizer:
        """A new one, as the trial is set."""
        return OPTIMIZERS[self.settings.optimizer](self.spec.learning_rate)

    def shuffled(self, epoch: int) -> Batches:
        """The training part as that epoch of the trial sees it, counted from 0."""
        return self.parts.training.shuffled(self.spec.seed, epoch)

    def tell(self, epoch: int, epochs: int, row: Mapping[str, float]) -> None:
        """Reports the end of an epoch, counted from 1, of so many."""
        self.report(
            Progress(
                trial_id=self.spec.trial_id,
                epoch=epoch,
                epochs=epochs,
                loss=row["loss"],
                accuracy=row["accuracy"],
                validation_accuracy=row["val_accuracy"],
            )
        )


def wrapped(bench: Bench, network: keras.Model) -> keras.Model:
    """The network behind its input preparation, compiled for training as the trial is set."""
    model = around(network, bench.parts)
    compile_model(model, bench.optimizer(), bench.settings, bench.parts, on_gpu=bench.on_gpu)
    return model


def start_tensorflow(threads: int) -> bool:
    """Sets what has to be set before the first operation.

    Returns:
        Whether there is a GPU.

    Raises:
        RuntimeError: TensorFlow runs already with other settings.
        DeviceFault: the environment names a GPU, and there is none.
    """
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    # One operation after the other: what runs side by side would exceed the threads.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tf.config.list_physical_devices("GPU")
    promised = named_devices(os.environ.get(VISIBLE, ""))
    if promised and not gpus:
        # Else a node whose card has fallen out would train on, slowly, as if nothing were.
        raise DeviceFault(f"TensorFlow finds no GPU; {VISIBLE}={','.join(promised)}")
    limit_mb = memory_limit_mb(os.environ) if gpus else None
    for gpu in gpus:
        if limit_mb is None:
            tf.config.experimental.set_memory_growth(gpu, True)
        else:
            part = tf.config.LogicalDeviceConfiguration(memory_limit=limit_mb)
            tf.config.set_logical_device_configuration(gpu, [part])
    return bool(gpus)


def compile_model(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    settings: TrialConfig,
    parts: Parts,
    *,
    on_gpu: bool,
    from_logits: bool = True,
) -> None:
    """Loss, metric and execution as the settings say; ``from_logits``: else from probabilities."""
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=min(settings.steps_per_execution, len(parts.training)),
        jit_compile=settings.jit_compile and on_gpu,
    )
    # Variables made while the training step is traced would have it traced a second time.
    model.optimizer.build(model.trainable_variables)


def train(
    bench: Bench, network: keras.Model, model: keras.Model, *, epochs: int, epochs_before: int = 0
) -> Observer:
    """Fits a model of :func:`wrapped`.

    Args:
        epochs_before: of the trial, over by now: the images come in the order of later ones.
    """
    observer = Observer(bench, network, epochs_before, epochs_before + epochs)
    model.fit(
        one_pass(lambda: observer.training),
        validation_data=one_pass(lambda: bench.parts.validation),
        epochs=epochs,
        callbacks=[observer],
        shuffle=False,  # the observer shuffles
        verbose=0,
    )
    return observer


class Observer(keras.callbacks.Callback):  # type: ignore[misc]
    """Shuffles before each epoch, writes down what came of it, and stops at a loss gone wrong.

    Attributes:
        training: the batches of the current epoch.
        evaluate_s: wall time spent on the validation part.
        best_weights: of the best epoch, where they are what is saved; else None.
        not_finite: which loss was not finite, and when; empty as long as all are.
    """

    def __init__(
        self, bench: Bench, network: keras.Model, epochs_before: int, epochs_in_all: int
    ) -> None:
        super().__init__()
        self.training = bench.parts.training
        self.evaluate_s = 0.0
        self.best_weights: list[Array] | None = None
        self.not_finite = ""
        self._bench = bench
        self._network = network
        self._epochs_before = epochs_before
        self._epochs_in_all = epochs_in_all
        self._epochs: list[Mapping[str, float]] = []
        self._epoch_started = self._test_started = 0.0
        self._evaluated_before_s = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self._epoch_started = time.perf_counter()
        self._evaluated_before_s = self.evaluate_s
        self.training = self._bench.shuffled(self._epochs_before + epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        loss = float((logs or {})["loss"])
        if not math.isfinite(loss):
            self._stop(f"training loss is {loss} in epoch {len(self._epochs) + 1}, batch {batch}")

    def on_test_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._test_started = time.perf_counter()

    def on_test_end(self, logs: Mapping[str, float] | None = None) -> None:
        self.evaluate_s += time.perf_counter() - self._test_started

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        row = {name: float(value) for name, value in (logs or {}).items()}
        evaluated_s = self.evaluate_s - self._evaluated_before_s
        row["time_s"] = time.perf_counter() - self._epoch_started - evaluated_s
        if not self.not_finite and not math.isfinite(row["val_loss"]):
            self._stop(f"validation loss is {row['val_loss']} after epoch {epoch + 1}")
        if self.not_finite:
            return
        self._epochs.append(row)
        if self._bench.spec.weights_path is not None and self._bench.settings.fitness == "best":
            self._keep_if_best()
        over = self._epochs_before + epoch + 1
        self._bench.log.epoch(over, row)
        self._bench.tell(over, self._epochs_in_all, row)

    def _stop(self, reason: str) -> None:
        self.not_finite = reason
        self.model.stop_training = True

    def _keep_if_best(self) -> None:
        accuracies = self._curve("val_accuracy")
        if accuracies[-1] > max(accuracies[:-1], default=-1.0):
            self.best_weights = self._network.get_weights()

    def _curve(self, name: str) -> tuple[float, ...]:
        return tuple(row[name] for row in self._epochs)

    def curves(self) -> Curves:
        """Of the epochs whose losses were finite."""
        return Curves(
            training_loss=self._curve("loss"),
            training_accuracy=self._curve("accuracy"),
            validation_loss=self._curve("val_loss"),
            validation_accuracy=self._curve("val_accuracy"),
        )

    def epochs_s(self) -> tuple[float, ...]:
        """Wall time of each epoch's training."""
        return self._curve("time_s")

    def fitness(self) -> float:
        """Validation accuracy of the last or the best epoch, as the settings say."""
        accuracies = self._curve("val_accuracy")
        return max(accuracies) if self._bench.settings.fitness == "best" else accuracies[-1]


class UntilNotFinite(keras.callbacks.Callback):  # type: ignore[misc]
    """Stops at a loss that is no number; Keras's own prints a line as it does so."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        if not math.isfinite((logs or {})["loss"]):
            self.model.stop_training = True

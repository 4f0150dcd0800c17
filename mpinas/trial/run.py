"""One trial, in its child process: build the network, train it, measure it.

Comes in: ``TrialSpec`` and a callable for progress. Comes out: ``TrialResult``. Importing this
module starts no device, so that a forkserver can preload it; ``run_trial`` sets threads and
devices and is meant to be called once in a process. It never looks at the test set.
"""

from __future__ import annotations

import math
import os
import pathlib
import platform
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from mpinas.assembly.keras_model import build_model
from mpinas.assembly.shapes import network_costs, network_widths
from mpinas.config import TrialConfig
from mpinas.errors import DataFault, Infeasible
from mpinas.records import (
    Curves,
    Failure,
    Progress,
    Times,
    TrialResult,
    TrialSpec,
    TrialStatus,
    canonical_json,
)
from mpinas.trial.batches import Batches, open_parts
from mpinas.trial.inputs import MOST_RESIDENT_BYTES, around, one_pass

Array = npt.NDArray[Any]
Report = Callable[[Progress], None]

WEIGHTS_SUFFIX = ".weights.h5"
"""Keras refuses any other name for a file of weights alone."""

HEADER_BYTES = 2**14
"""More than HDF5 writes about one layer."""

SGD_MOMENTUM = 0.9
OPTIMIZERS: Mapping[str, Callable[[float], keras.optimizers.Optimizer]] = {
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": lambda rate: keras.optimizers.SGD(rate, momentum=SGD_MOMENTUM, nesterov=True),
}


def run_trial(spec: TrialSpec, report: Report) -> TrialResult:
    """Trains and measures one network.

    On a CPU with ``threads: 1`` the fitness is the same to the last bit in every process of
    equal versions on equal processors. ``deterministic: true`` promises the same on a GPU; it
    chooses other kernels, so that the numbers differ from those without it, on a CPU as well.

    Args:
        spec: what to do; ``spec.settings`` is a ``trial`` section.
        report: called after each epoch.

    Returns:
        ``COMPLETE``; or ``FAILED`` for a loss that is not finite, for lack of memory, and (as
        ``infrastructure``) for data that cannot be opened and weights that cannot be written
        here; or ``INFEASIBLE``. ``worker`` and ``times.start_s`` are left to whoever supervises
        the process.

    Raises:
        Exception: only for bugs, and what ``report`` raises.
        RuntimeError: this process has started TensorFlow with other settings.
    """
    started = time.perf_counter()
    result = TrialResult(
        trial_id=spec.trial_id,
        network_hash=spec.network.hash,
        status=TrialStatus.FAILED,
        failure=Failure.ERROR,
        versions=_versions(),
    )
    try:
        result = replace(
            result, costs=network_costs(spec.network), widths=network_widths(spec.network)
        )
        result = _train(spec, report, result)
    except Infeasible as reason:
        result = replace(result, status=TrialStatus.INFEASIBLE, failure=None, error=reason.reason)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        result = _failed(result, Failure.OUT_OF_MEMORY, traceback.format_exc())
    except DataFault as fault:
        result = _failed(result, Failure.INFRASTRUCTURE, str(fault))
    wall_time_s = time.perf_counter() - started
    return replace(result, times=replace(result.times, wall_time_s=wall_time_s))


def _failed(result: TrialResult, failure: Failure, error: str) -> TrialResult:
    return replace(result, status=TrialStatus.FAILED, failure=failure, error=error)


def _train(spec: TrialSpec, report: Report, result: TrialResult) -> TrialResult:
    settings = TrialConfig.model_validate_json(canonical_json(spec.settings))
    started = time.perf_counter()
    on_gpu = _start_tensorflow(settings, spec.seed)
    parts = open_parts(
        spec.problem,
        settings.batch_size,
        most_resident_bytes=MOST_RESIDENT_BYTES if on_gpu else 0,
    )
    network = build_model(spec.network, seed=spec.seed)
    model = around(network, parts)
    model.compile(
        optimizer=OPTIMIZERS[settings.optimizer](spec.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        steps_per_execution=min(settings.steps_per_execution, len(parts.training)),
        jit_compile=settings.jit_compile and on_gpu,
    )
    # Variables made while the training step is traced would have it traced a second time.
    model.optimizer.build(model.trainable_variables)
    observer = _Observer(spec, settings, network, parts.training, report)
    built = time.perf_counter()
    model.fit(
        one_pass(lambda: observer.training),
        validation_data=one_pass(lambda: parts.validation),
        epochs=settings.epochs,
        callbacks=[observer],
        shuffle=False,  # the observer shuffles
        verbose=0,
    )
    trained = time.perf_counter()
    times = Times(
        build_s=built - started,
        train_s=trained - built - observer.evaluate_s,
        evaluate_s=observer.evaluate_s,
    )
    result = replace(result, times=times, curves=observer.curves())
    if observer.not_finite:
        return _failed(result, Failure.NOT_A_NUMBER, observer.not_finite)
    if spec.weights_path is not None:
        try:
            _save_weights(network, observer.best_weights, pathlib.Path(spec.weights_path))
        except OSError as error:
            reason = f"the weights cannot be written to {spec.weights_path}: {error}"
            return _failed(result, Failure.INFRASTRUCTURE, reason)
    return replace(result, status=TrialStatus.COMPLETE, failure=None, fitness=observer.fitness())


class _Observer(keras.callbacks.Callback):  # type: ignore[misc]
    """Shuffles before each epoch, writes down what came of it, and stops at a loss gone wrong.

    Attributes:
        training: the batches of the current epoch.
        evaluate_s: wall time spent on the validation part.
        best_weights: of the best epoch, where they are what is saved; else None.
        not_finite: which loss was not finite, and when; empty as long as all are.
    """

    def __init__(
        self,
        spec: TrialSpec,
        settings: TrialConfig,
        network: keras.Model,
        training: Batches,
        report: Report,
    ) -> None:
        super().__init__()
        self.training = training
        self.evaluate_s = 0.0
        self.best_weights: list[Array] | None = None
        self.not_finite = ""
        self._spec = spec
        self._settings = settings
        self._network = network
        self._unshuffled = training
        self._report = report
        self._epochs: list[Mapping[str, float]] = []
        self._test_started = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        self.training = self._unshuffled.shuffled(self._spec.seed, epoch)

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
        if not self.not_finite and not math.isfinite(row["val_loss"]):
            self._stop(f"validation loss is {row['val_loss']} after epoch {epoch + 1}")
        if self.not_finite:
            return
        self._epochs.append(row)
        if self._spec.weights_path is not None and self._settings.fitness == "best":
            self._keep_if_best()
        self._report(
            Progress(
                trial_id=self._spec.trial_id,
                epoch=epoch + 1,
                epochs=self._settings.epochs,
                loss=row["loss"],
                accuracy=row["accuracy"],
                validation_accuracy=row["val_accuracy"],
            )
        )

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

    def fitness(self) -> float:
        """Validation accuracy of the last or the best epoch, as the settings say."""
        accuracies = self._curve("val_accuracy")
        return max(accuracies) if self._settings.fitness == "best" else accuracies[-1]


def _save_weights(model: keras.Model, weights: list[Array] | None, file: pathlib.Path) -> None:
    """Writes the weights (of the model as it is, where None) whole or not at all.

    Raises:
        OSError: they cannot be written here.
    """
    if weights is not None:
        model.set_weights(weights)
    temporary = file.with_name(f".{file.name.removesuffix(WEIGHTS_SUFFIX)}.part{WEIGHTS_SUFFIX}")
    try:
        _check_room(temporary, 8 * model.count_params() + HEADER_BYTES * len(model.layers))
        model.save_weights(temporary)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _check_room(file: pathlib.Path, size: int) -> None:
    """Raises OSError where no file of that many bytes can be written.

    The HDF5 library does not survive a full disk: it ends the process with a segmentation fault
    when it closes the file, which would count as the candidate's own crash.
    """
    with file.open("wb") as room:
        os.posix_fallocate(room.fileno(), 0, size)
    file.unlink()


def _start_tensorflow(settings: TrialConfig, seed: int) -> bool:
    """Sets everything that has to be set before the first operation.

    Returns:
        Whether there is a GPU.
    """
    tf.config.threading.set_intra_op_parallelism_threads(settings.threads)
    # One operation after the other: what runs side by side would exceed the threads.
    tf.config.threading.set_inter_op_parallelism_threads(1)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(settings.precision)
    keras.utils.set_random_seed(seed)
    return bool(gpus)


def _versions() -> Mapping[str, str]:
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }

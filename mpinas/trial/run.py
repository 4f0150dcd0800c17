"""One trial, in its child process: build the network, shrink it, train it, measure it.

Comes in: ``TrialSpec`` and a callable for progress. Comes out: ``TrialResult``. Importing this
module starts no device, so that a forkserver can preload it; ``run_trial`` sets threads and
devices and is meant to be called once in a process. It never looks at the test set.
"""

from __future__ import annotations

import gc
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
from mpinas.errors import DataFault, DeviceFault, Infeasible
from mpinas.records import (
    Failure,
    Times,
    TrialResult,
    TrialSpec,
    TrialStatus,
    canonical_json,
)
from mpinas.trial.batches import open_parts
from mpinas.trial.event_log import EventLog
from mpinas.trial.inputs import MOST_RESIDENT_BYTES
from mpinas.trial.shrinking import Ready, shrink_network
from mpinas.trial.training import Bench, Report, start_tensorflow, train

Array = npt.NDArray[Any]

WEIGHTS_SUFFIX = ".weights.h5"
"""Keras refuses any other name for a file of weights alone."""

HEADER_BYTES = 2**14
"""More than HDF5 writes about one layer."""


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
        ``infrastructure``) for data that cannot be opened, weights that cannot be written and
        a GPU that is not there; or ``INFEASIBLE``. ``worker`` and ``times.start_s`` are left to
        whoever supervises the process.

    Raises:
        Exception: only for bugs, and what ``report`` raises.
        RuntimeError: this process has started TensorFlow with other settings.
    """
    return as_result(spec, lambda result: _train(spec, report, result))


def as_result(spec: TrialSpec, train: Callable[[TrialResult], TrialResult]) -> TrialResult:
    """What ``train`` makes of a result that says nothing yet, or how it failed; times added."""
    started, cpu_started = time.perf_counter(), time.process_time()
    result = TrialResult(
        trial_id=spec.trial_id,
        network_hash=spec.network.hash,
        status=TrialStatus.FAILED,
        failure=Failure.ERROR,
        versions=versions(),
    )
    try:
        result = replace(
            result, costs=network_costs(spec.network), widths=network_widths(spec.network)
        )
        result = train(result)
    except Infeasible as reason:
        result = replace(result, status=TrialStatus.INFEASIBLE, failure=None, error=reason.reason)
    except (tf.errors.ResourceExhaustedError, MemoryError):
        result = failed(result, Failure.OUT_OF_MEMORY, traceback.format_exc())
    except (DataFault, DeviceFault) as fault:
        result = failed(result, Failure.INFRASTRUCTURE, str(fault))
    times = replace(
        result.times,
        wall_time_s=time.perf_counter() - started,
        cpu_s=time.process_time() - cpu_started,
    )
    return replace(result, times=times)


def failed(result: TrialResult, failure: Failure, error: str) -> TrialResult:
    """The result of a trial that failed. ``error``: the traceback or the reason, as text."""
    return replace(result, status=TrialStatus.FAILED, failure=failure, error=error)


def _train(spec: TrialSpec, report: Report, result: TrialResult) -> TrialResult:
    settings = TrialConfig.model_validate_json(canonical_json(spec.settings))
    started = time.perf_counter()
    on_gpu = start_trial(settings, spec.seed)
    parts = open_parts(
        spec.problem,
        settings.batch_size,
        most_resident_bytes=MOST_RESIDENT_BYTES if on_gpu else 0,
    )
    log = EventLog(pathlib.Path(spec.events_path) if spec.events_path is not None else None)
    bench = Bench(spec=spec, settings=settings, parts=parts, report=report, on_gpu=on_gpu, log=log)
    network = build_model(spec.network, seed=spec.seed)
    built_s = time.perf_counter() - started
    result = replace(result, times=Times(build_s=built_s))
    if not settings.shrink.enabled:
        return _fit(bench, result, Ready.of(bench, network))
    ready = shrink_network(bench, network)
    del network
    gc.collect()  # models are cycles: the wide one would stay in memory beside the narrow one
    result = replace(result, shrunk_costs=ready.costs, shrink=ready.record)
    return _fit(bench, result, ready)


def start_trial(settings: TrialConfig, seed: int) -> bool:
    """Sets all that TensorFlow and Keras have for a whole process; whether there is a GPU.

    Raises:
        RuntimeError, DeviceFault: as ``start_tensorflow``.
    """
    on_gpu = start_tensorflow(settings.threads)
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(settings.precision)
    keras.utils.set_random_seed(seed)
    return on_gpu


def _fit(bench: Bench, result: TrialResult, ready: Ready) -> TrialResult:
    started = time.perf_counter()
    observer = train(
        bench,
        ready.network,
        ready.model,
        epochs=ready.epochs,
        epochs_before=ready.epochs_before,
    )
    trained_s = time.perf_counter() - started
    times = replace(
        ready.times,
        build_s=result.times.build_s + ready.times.build_s,
        train_s=trained_s - observer.evaluate_s,
        evaluate_s=ready.times.evaluate_s + observer.evaluate_s,
        epochs_s=observer.epochs_s(),
    )
    result = replace(result, times=times, curves=observer.curves())
    if observer.not_finite:
        return failed(result, Failure.NOT_A_NUMBER, observer.not_finite)
    if bench.spec.weights_path is not None:
        file = pathlib.Path(bench.spec.weights_path)
        try:
            _save_weights(ready.network, observer.best_weights, file)
        except OSError as error:
            reason = f"the weights cannot be written to {file}: {error}"
            return failed(result, Failure.INFRASTRUCTURE, reason)
    return replace(result, status=TrialStatus.COMPLETE, failure=None, fitness=observer.fitness())


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


def versions() -> Mapping[str, str]:
    """Of what a trial depends on."""
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }

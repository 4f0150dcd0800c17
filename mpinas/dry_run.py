"""``run --dry-run``: checks everything, tries one candidate, estimates the rest, keeps nothing."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mpinas.assembly.shapes import network_costs
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.settings import worker_settings
from mpinas.errors import MpinasError
from mpinas.records import Costs, Finished, Progress, TrialResult, TrialSpec
from mpinas.run_directory import create_run_directory
from mpinas.search import Search
from mpinas.session import RunOptions, fill_directory, read_config, search_setting

BYTES_PER_MB = 2**20
TRIED_EPOCHS = 2
RESULT_BYTES = 6000
"""A trial on disk: journal line, share of a checkpoint, log lines; the quickstart's take 6,060."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would be.

    Attributes:
        costs, layers: of one candidate of the starting populations.
        trial_s: expected seconds of a trial.
        disk_mb: of the run directory at the end, saved weights not counted.
    """

    name: str
    generations: int
    individuals: int
    trials: int
    training_images: int
    validation_images: int
    workers: int
    costs: Costs
    layers: int
    trial_s: float
    device: str
    disk_mb: float


def dry_run(options: RunOptions) -> DryRun:
    """Reads configuration and data, builds and trains one candidate for two epochs.

    Raises:
        UserMustChange: as the run itself would.
        MpinasError: the candidate could not be trained; the message says why.
    """
    config = read_config(options)
    with tempfile.TemporaryDirectory() as folder:
        directory = create_run_directory(
            Path(folder) / config.name, lambda new: fill_directory(config, new)
        )
        setting = search_setting(config, directory.problem)
        specs = Search(setting, directory).next_specs(config.tuner.individuals)
        if not specs:
            raise MpinasError("no candidate of the first generation is within the limits of space")
        median = specs[len(specs) // 2]
        settings = worker_settings(config.trial, config.run)
        measured = _try_out(median, LocalExecutor(settings, workers=1))
        data_mb = directory.problem.stat().st_size / BYTES_PER_MB
    trials = config.tuner.generations * config.tuner.individuals
    return DryRun(
        name=config.name,
        generations=config.tuner.generations,
        individuals=config.tuner.individuals,
        trials=trials,
        training_images=setting.training_images,
        validation_images=setting.validation_images,
        workers=config.run.workers,
        costs=network_costs(median.network),
        layers=len(median.network.layers),
        trial_s=_expected_s(measured, config.trial.epochs),
        device=measured.result.worker.device if measured.result.worker else "",
        disk_mb=data_mb + trials * RESULT_BYTES / BYTES_PER_MB,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """A trial of two epochs: the first one compiles, so the second tells what an epoch takes."""

    result: TrialResult
    epoch_s: float


def _try_out(spec: TrialSpec, executor: LocalExecutor) -> _Measured:
    """Two epochs of a candidate, in a process of its own as every trial.

    Raises:
        MpinasError: it fails.
    """
    short = {**spec.settings, "epochs": TRIED_EPOCHS}
    epoch_ends_s: list[float] = []
    try:
        executor.submit(replace(spec, settings=short, weights_path=None))
        while True:
            for event in executor.events(1.0):
                if isinstance(event, Progress):
                    epoch_ends_s.append(time.monotonic())
                if isinstance(event, Finished):
                    return _Measured(
                        result=_complete(event.result),
                        epoch_s=epoch_ends_s[-1] - epoch_ends_s[0],
                    )
    finally:
        executor.close()


def _complete(result: TrialResult) -> TrialResult:
    if result.fitness is None:
        raise MpinasError(f"the candidate that was tried out failed:\n{result.error}")
    return result


def _expected_s(measured: _Measured, epochs: int) -> float:
    """Seconds of a whole trial; starting the first process of a worker is not counted."""
    times = measured.result.times
    return times.wall_time_s - times.start_s + (epochs - TRIED_EPOCHS) * measured.epoch_s

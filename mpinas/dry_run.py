"""``run --dry-run``: checks everything, tries one candidate, estimates the rest, keeps nothing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from mpinas.assembly.shapes import network_costs
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.settings import worker_settings
from mpinas.errors import MpinasError
from mpinas.records import Costs, Finished, TrialResult, TrialSpec
from mpinas.run_directory import create_run_directory
from mpinas.search import Search
from mpinas.session import RunOptions, fill_directory, read_config, search_setting

BYTES_PER_MB = 2**20
RESULT_BYTES = 6000
"""A trial on disk: a journal line, its part of a checkpoint, its log lines; measured: 4,500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a run would be.

    Attributes:
        costs, layers: of one candidate of the starting populations.
        trial_s: expected seconds of a trial, or None where it takes none.
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
    trial_s: float | None
    device: str
    disk_mb: float


def dry_run(options: RunOptions) -> DryRun:
    """Reads configuration and data, builds and trains one candidate for one epoch.

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
        result = _try_out(
            median, config.run.grace_s, LocalExecutor(worker_settings(config.trial, config.run), 1)
        )
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
        trial_s=_expected_s(result, config.trial.epochs),
        device=result.worker.device if result.worker else "",
        disk_mb=data_mb + trials * RESULT_BYTES / BYTES_PER_MB,
    )


def _try_out(spec: TrialSpec, grace_s: float, executor: LocalExecutor) -> TrialResult:
    """One epoch of a candidate, in a process of its own as every trial."""
    try:
        executor.submit(replace(spec, settings={**spec.settings, "epochs": 1}, weights_path=None))
        while True:
            for event in executor.events(1.0):
                if isinstance(event, Finished):
                    return event.result
    finally:
        executor.close()


def _expected_s(result: TrialResult, epochs: int) -> float:
    """Seconds of a whole trial, from one of a single epoch."""
    times = result.times
    return times.wall_time_s + (epochs - 1) * (times.train_s + times.evaluate_s)

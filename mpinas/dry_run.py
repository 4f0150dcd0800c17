"""``--dry-run``: checks everything, tries one candidate, estimates the rest, keeps nothing."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mpinas.assembly.shapes import network_costs
from mpinas.config import RunConfig
from mpinas.dispatch.base import Executor
from mpinas.errors import MpinasError, NoWorkerLeft, UserMustChange, fault
from mpinas.opening import (
    RunOptions,
    check_directory,
    fill_directory,
    run_path,
    search_setting,
    with_data_of,
)
from mpinas.problems import open_prepared
from mpinas.records import BYTES_PER_MB, Costs, Finished, Progress, TrialResult, TrialSpec
from mpinas.run_data import data_file, refuse_other_data
from mpinas.run_directory import RunDirectory, create_run_directory
from mpinas.search import Search
from mpinas.starting import load_start

TRIED_EPOCHS = 2
RESULT_BYTES = 6000
"""A trial on disk: journal line, share of a checkpoint, log lines; the quickstart's take 6,060."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What a search would be.

    Attributes:
        costs, layers: of one candidate of the starting populations.
        trial_s: expected seconds of a trial in which nothing is shrunk: what a shrink takes and
            what it saves is known only once networks have been shrunk.
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

    @property
    def workers_s(self) -> float:
        """Worker seconds of all its trials."""
        return self.trial_s * self.trials


def dry_run(config: RunConfig, options: RunOptions, executor: Executor) -> DryRun:
    """Checks what the run would check, and trains one candidate for two epochs.

    Args:
        executor: with the workers the run would have; it stays the caller's to close.

    Raises:
        UserMustChange: as the run itself would, or no candidate is within the limits.
        MpinasError: the candidate could not be trained; the message says why.
    """
    path = run_path(config, options)
    check_directory(config, path, fresh=options.fresh)
    if options.start_from is not None:
        load_start(config, options.start_from, None if options.fresh else RunDirectory(path))
    begun = RunDirectory(path)
    if options.fresh or not begun.exists():
        return dry_search(config, executor)
    return dry_search(with_data_of(config, begun), executor, begun=begun)


def dry_search(
    config: RunConfig, executor: Executor, *, begun: RunDirectory | None = None
) -> DryRun:
    """Trains one candidate for two epochs, whatever directory the search would be in.

    Args:
        begun: the run that would go on, whose data they have to be.

    Raises:
        UserMustChange, MpinasError: as :func:`dry_run`.
    """
    with tempfile.TemporaryDirectory() as folder:
        directory = create_run_directory(
            Path(folder) / config.name, lambda new: fill_directory(config, new)
        )
        if begun is not None:
            refuse_other_data(begun, open_prepared(data_file(config, directory)))
        setting = search_setting(config, directory)
        median = _median_candidate(Search(setting, directory), config)
        measured = _try_out(median, executor)
        own_data = directory.problem
        data_bytes = own_data.stat().st_size if own_data.exists() else 0
    problem = setting.problem
    trials = config.tuner.generations * config.tuner.individuals
    worker = measured.result.worker
    return DryRun(
        name=config.name,
        generations=config.tuner.generations,
        individuals=config.tuner.individuals,
        trials=trials,
        training_images=problem.training_images,
        validation_images=problem.validation_images,
        workers=executor.workers(),
        costs=network_costs(median.network),
        layers=len(median.network.layers),
        trial_s=_expected_s(measured, config.trial.epochs),
        device=worker.device if worker else "",
        disk_mb=(data_bytes + trials * RESULT_BYTES) / BYTES_PER_MB,
    )


def _median_candidate(search: Search, config: RunConfig) -> TrialSpec:
    specs = search.next_specs(config.tuner.individuals)
    if search.generation > 0 or not specs:
        raise UserMustChange(
            fault("space", "no candidate of the first generation is within its limits")
        )
    return specs[len(specs) // 2]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """A trial of two epochs: the first one compiles, so the second tells what an epoch takes."""

    result: TrialResult
    epoch_s: float


def _try_out(spec: TrialSpec, executor: Executor) -> _Measured:
    """Two epochs of a candidate, not shrunk, in a process of its own as every trial.

    Raises:
        MpinasError: it fails.
    """
    unshrunk = {**spec.settings["shrink"], "enabled": False}
    short = {**spec.settings, "epochs": TRIED_EPOCHS, "shrink": unshrunk}
    epoch_ends_s: list[float] = []
    executor.submit(replace(spec, settings=short, weights_path=None))
    while executor.workers():
        for event in executor.events(1.0):
            if isinstance(event, Progress):
                epoch_ends_s.append(time.monotonic())
            if isinstance(event, Finished):
                return _Measured(
                    result=_complete(event.result), epoch_s=epoch_ends_s[-1] - epoch_ends_s[0]
                )
    raise NoWorkerLeft("no worker is left that can run a trial")


def _complete(result: TrialResult) -> TrialResult:
    if result.fitness is None:
        raise MpinasError(f"the candidate that was tried out failed:\n{result.error}")
    return result


def _expected_s(measured: _Measured, epochs: int) -> float:
    """Seconds of a whole trial; starting the first process of a worker is not counted."""
    times = measured.result.times
    return times.on_worker_s + (epochs - TRIED_EPOCHS) * measured.epoch_s

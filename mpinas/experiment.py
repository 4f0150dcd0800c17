"""The paired experiment: the searches of a comparison side by side on one farm (the paper, 6.1).

A search is the same whether it is alone or has neighbours; only when its trials run follows from
them. Each is a run directory of its own, and goes on where it was.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

from mpinas.checkpoint import DamagedCheckpoint, load_checkpoint
from mpinas.comparison import ComparedRun, Comparison, ComparisonDirectory, existing_comparison
from mpinas.config import RunConfig
from mpinas.config_file import dump_config
from mpinas.dispatch.base import Executor
from mpinas.dry_run import DryRun, dry_search
from mpinas.errors import RunDirectoryFault, fault
from mpinas.mending import mend_directory
from mpinas.opening import (
    aside_of,
    can_be_mapped,
    check_directory,
    refuse_other_data,
    shared_file,
)
from mpinas.ownership import claim, refuse_if_owned, release, watch_owner
from mpinas.problems import check_problem, open_prepared, prepare
from mpinas.pump import Lane
from mpinas.records import BYTES_PER_MB
from mpinas.run_directory import RunDirectory, create_directory, refuse_if_taken, write_whole
from mpinas.run_log import acting, logging_to
from mpinas.session import Job, Place, drive, open_lane, telling_of_the_disk

logger = logging.getLogger(__name__)


def run_comparison(comparison: Comparison, job: Job, *, fresh: bool = False) -> bool:
    """Starts a comparison or goes on with it, until it is done or has to stop.

    Args:
        fresh: set an old one in the directory aside.

    Returns:
        True when every search is done, False when it was stopped and can go on later.

    Raises:
        UserMustChange: nothing was started, nothing written.
        NoWorkerLeft: nobody is left to run a trial.
        DiskFault: the disk takes nothing more.
        StoppedEarly: while data were prepared or read.
    """
    directory = comparison.directory
    with telling_of_the_disk(directory.path), ExitStack() as opened:
        check_comparison(comparison, fresh=fresh)
        with job.stopping.at_once(job.clock.left_s()):
            data = _begin(comparison, fresh=fresh)
        lanes: list[Lane] = []
        for run in comparison.runs:
            if is_done(run):
                _mend(run, job)
                continue
            lane = opened.enter_context(_open(run, data, job))
            if lane is None:
                return False
            lanes.append(lane)
        _save_config(comparison)  # of this job, now that no other can be at work here
        for line in unequal_starts(comparison):
            logger.warning("%s", line)
        return not lanes or drive(lanes, job, comparison.config.run.grace_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class DryComparison:
    """What a comparison would be.

    Attributes:
        arms: what a search of each would be.
        data_mb: of the prepared data that the directory would hold.
    """

    comparison: Comparison
    arms: Mapping[str, DryRun]
    data_mb: float

    @property
    def trials(self) -> int:
        """Of all its searches."""
        return self.comparison.experiments * sum(one.trials for one in self.arms.values())

    @property
    def workers_s(self) -> float:
        """Worker seconds of all its trials."""
        return self.comparison.experiments * sum(one.workers_s for one in self.arms.values())

    @property
    def disk_mb(self) -> float:
        """Of its directory at the end, saved weights not counted."""
        searches_mb = sum(one.disk_mb for one in self.arms.values())
        return self.data_mb + self.comparison.experiments * searches_mb


def dry_comparison(
    comparison: Comparison, executor: Executor, *, fresh: bool = False
) -> DryComparison:
    """Checks what the comparison would check, and trains a candidate of each arm for two epochs.

    Args:
        executor: with the workers it would have; it stays the caller's to close.

    Raises:
        UserMustChange: as the comparison itself would, or no candidate of an arm is within the
            limits.
        MpinasError: a candidate could not be trained; the message says why.
    """
    check_comparison(comparison, fresh=fresh)
    with tempfile.TemporaryDirectory() as folder:
        data = _data_to_try(comparison, Path(folder), fresh=fresh)
        first = comparison.runs[: len(comparison.arms)]
        return DryComparison(
            comparison=comparison,
            arms={run.arm: dry_search(_with_data(run.config, data), executor) for run in first},
            data_mb=0.0 if shared_file(comparison.config) else data.stat().st_size / BYTES_PER_MB,
        )


def _data_to_try(comparison: Comparison, folder: Path, *, fresh: bool) -> Path:
    """The file of the prepared data that would be used; where there is none, one in the folder.

    Raises:
        RunDirectoryFault: a search began with other data.
    """
    directory, config = comparison.directory, comparison.config
    is_begun = directory.exists() and not fresh
    data = shared_file(config)
    if data is None and is_begun and not _must_prepare(comparison):
        return directory.problem
    if data is None:
        data = folder / directory.problem.name
        prepare(config.problem, data)
    if is_begun:
        _refuse_other_data(comparison, data)
    return data


def is_done(run: ComparedRun) -> bool:
    """Whether all generations of a search are told."""
    return RunDirectory(run.path).told() >= run.config.tuner.generations


def check_comparison(comparison: Comparison, *, fresh: bool) -> None:
    """Refuses a directory in which this comparison cannot be made; writes nothing.

    Raises:
        RunDirectoryFault: something else stands there, or a comparison with more in it, or of
            other searches, or one that another job works on.
        ConfigurationFaults: what stands there cannot be read.
    """
    directory = comparison.directory
    if not directory.exists() and not directory.searches():
        refuse_if_taken(directory.path, "comparison")
        return
    if fresh:
        for search in directory.searches():
            refuse_if_owned(search)
        return
    _refuse_lost_config(directory)
    _refuse_to_leave_out(comparison, existing_comparison(directory.path))
    for run in comparison.runs:
        check_directory(run.config, run.path, fresh=False)


def _refuse_lost_config(directory: ComparisonDirectory) -> None:
    """Of searches alone nobody can tell whether they are all."""
    if not directory.exists():
        raise RunDirectoryFault(
            fault(
                str(directory.path),
                f"holds searches, and is not a comparison without its {directory.config.name}",
                cure=f"Copy the configuration that it began with to {directory.config}, give "
                "another --out, or --fresh to begin anew",
            )
        )


def _refuse_to_leave_out(comparison: Comparison, stored: Comparison) -> None:
    """A comparison can get more arms and experiments; results that are there are not hidden."""
    gone = [arm for arm in stored.arms if arm not in comparison.arms]
    received = [f"arms={list(comparison.arms)}"] if gone else []
    if stored.experiments > comparison.experiments:
        received.append(f"experiments={comparison.experiments}")
    if received:
        raise RunDirectoryFault(
            fault(
                str(stored.directory.path),
                f"has {stored.experiments} experiments of the arms {', '.join(stored.arms)}",
                ", ".join(received),
                cure="A comparison can be made larger, not smaller: give another --out, or "
                "--fresh to begin anew",
            )
        )


def _begin(comparison: Comparison, *, fresh: bool) -> Path:
    """Makes the directory what this job needs, and gives the file of the prepared data."""
    directory, config = comparison.directory, comparison.config
    if fresh or not directory.exists():
        is_old = directory.exists() or bool(directory.searches())
        aside = aside_of(directory.path) if is_old else None
        create_directory(
            directory.path,
            lambda new: _fill(comparison, ComparisonDirectory(new)),
            aside=aside,
            of="comparison",
        )
        if aside is not None:
            logger.warning("the old comparison is kept as %s", aside)
    elif shared_file(config) is None and _must_prepare(comparison):
        _prepare_again(comparison)
    return shared_file(config) or directory.problem


def _fill(comparison: Comparison, directory: ComparisonDirectory) -> None:
    """Raises DataFault where an arm cannot use the data."""
    config = comparison.config
    data = shared_file(config)
    if data is None:
        data = directory.problem
        prepare(config.problem, data)
    prepared = open_prepared(data, verify=True)
    for run in comparison.runs[: len(comparison.arms)]:
        check_problem(run.config.problem, prepared, run.config.trial.batch_size)
    write_whole(directory.config, dump_config(config), durable=True)


def _must_prepare(comparison: Comparison) -> bool:
    """Whether a begun comparison has no prepared data that are still those of its path."""
    directory = comparison.directory
    stored = existing_comparison(directory.path).config
    path = comparison.config.problem.path
    return stored.problem.path != path or not can_be_mapped(directory.problem)


def _prepare_again(comparison: Comparison) -> None:
    """Raises RunDirectoryFault, and changes nothing, where a search began with other data."""
    directory = comparison.directory
    with tempfile.TemporaryDirectory(dir=directory.path) as folder:
        prepared_file = Path(folder) / directory.problem.name
        prepare(comparison.config.problem, prepared_file)
        _refuse_other_data(comparison, prepared_file)
        prepared_file.replace(directory.problem)


def _refuse_other_data(comparison: Comparison, data: Path) -> None:
    prepared = open_prepared(data)
    for run in comparison.runs:
        refuse_other_data(RunDirectory(run.path), prepared)


def _save_config(comparison: Comparison) -> None:
    write_whole(comparison.directory.config, dump_config(comparison.config), durable=True)


def _mend(run: ComparedRun, job: Job) -> None:
    """Puts back what the journals of a search that is done have lost: tables are made of them."""
    directory = RunDirectory(run.path)
    dead = watch_owner(directory, job.stopping)
    if job.stopping():
        return
    owner = claim(directory, run.config.run.heartbeat_s, dead=dead)
    try:
        with logging_to(directory.log, run.name), acting(run.name):
            mend_directory(directory)
    finally:
        release(directory, owner)


def _open(run: ComparedRun, data: Path, job: Job) -> AbstractContextManager[Lane | None]:
    place = Place(path=run.path, name=run.name, turn=run.experiment)
    return open_lane(_with_data(run.config, data), place, job)


def _with_data(config: RunConfig, data: Path) -> RunConfig:
    problem = config.problem.model_copy(update={"path": str(data.absolute())})
    return config.model_copy(update={"problem": problem})


def start_digest(run: ComparedRun) -> str | None:
    """Of the populations that a search began with; None before it has."""
    try:
        return str(load_checkpoint(RunDirectory(run.path).start).about["start"])
    except (DamagedCheckpoint, KeyError):
        return None


def unequal_starts(
    comparison: Comparison, digest_of: Callable[[ComparedRun], str | None] = start_digest
) -> Iterator[str]:
    """A line for each experiment whose arms did not begin with the same populations."""
    for experiment in range(comparison.experiments):
        runs = [run for run in comparison.runs if run.experiment == experiment]
        known = {digest for run in runs if (digest := digest_of(run)) is not None}
        if len(known) > 1:
            yield (
                f"experiment {experiment}: its arms began with different populations, because they "
                f"differ in space, tuner or trial.learning_rate"
            )

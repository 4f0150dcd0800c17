"""The paired experiment: the searches of a comparison side by side on one farm (the paper, 6.1).

A search is the same whether it is alone or has neighbours; only when its trials run follows from
them. Each is a run directory of its own, and goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from mpinas.checkpoint import DamagedCheckpoint, load_checkpoint
from mpinas.comparison import ComparedRun, Comparison
from mpinas.comparison_opening import (
    begin_comparison,
    check_comparison,
    save_config,
)
from mpinas.mending import mend_directory
from mpinas.opening import renew_config
from mpinas.ownership import claim, release, watch_owner
from mpinas.pump import Lane
from mpinas.run_data import with_data
from mpinas.run_directory import RunDirectory
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
            data = begin_comparison(comparison, fresh=fresh)
        lanes = _open_all(comparison, data, job, opened)
        if lanes is None:
            return False
        for line in unequal_starts(comparison):
            logger.warning("%s", line)
        return not lanes or drive(lanes, job, comparison.config.run.grace_s)


def _open_all(comparison: Comparison, data: Path, job: Job, opened: ExitStack) -> list[Lane] | None:
    """Those that are not done, in their order; None where the job is to stop.

    The ones that have begun first: where another job has one of them, nothing is changed.
    """
    lanes: dict[str, Lane] = {}

    def open_these(runs: Iterable[ComparedRun]) -> bool:
        for run in runs:
            lane = opened.enter_context(_open(run, data, job))
            if lane is None:
                return False
            lanes[run.name] = lane
            for other in lanes.values():
                other.monitor.write()  # a sign of life
        return True

    done = [run for run in comparison.runs if is_done(run)]
    open_ones = [run for run in comparison.runs if run not in done]
    begun = [run for run in open_ones if RunDirectory(run.path).exists()]
    if not open_these(begun):
        return None
    for run in done:
        _mend(run, data, job)
    save_config(comparison)  # of this job, now that no other can be at work here
    if not open_these(run for run in open_ones if run not in begun):
        return None
    return [lanes[run.name] for run in comparison.runs if run.name in lanes]


def is_done(run: ComparedRun) -> bool:
    """Whether all generations of a search are told."""
    return RunDirectory(run.path).told() >= run.config.tuner.generations


def _mend(run: ComparedRun, data: Path, job: Job) -> None:
    """Puts back what the journals of a search that is done have lost: tables are made of them.

    One that was made shorter is done by that.
    """
    directory = RunDirectory(run.path)
    dead = watch_owner(directory, job.stopping)
    if job.stopping():
        return
    owner = claim(directory, run.config.run.heartbeat_s, dead=dead)
    try:
        with logging_to(directory.log, run.name), acting(run.name):
            renew_config(with_data(run.config, data), directory)
            mend_directory(directory)
    finally:
        release(directory, owner)


def _open(run: ComparedRun, data: Path, job: Job) -> AbstractContextManager[Lane | None]:
    place = Place(path=run.path, name=run.name, turn=run.experiment, is_checked=True)
    return open_lane(with_data(run.config, data), place, job)


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

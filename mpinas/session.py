"""One job's part of a run: claim the directory, resume, drive the search, say how it ended.

This is what ``python -m mpinas run`` calls in the searching process. A comparison opens many runs
beside each other in the same way (``experiment.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mpinas.clock import Clock
from mpinas.config import RunConfig
from mpinas.dispatch.base import Executor
from mpinas.errors import DiskFault, fault
from mpinas.files import DISK_ERRORS
from mpinas.mending import mend_directory
from mpinas.monitor import Monitor
from mpinas.opening import (
    RunOptions,
    check_directory,
    open_directory,
    renew_config,
    run_path,
    search_setting,
)
from mpinas.ownership import claim, release, watch_owner
from mpinas.pump import Lane, Pump
from mpinas.run_directory import RunDirectory
from mpinas.run_log import acting, logging_to
from mpinas.search import Search
from mpinas.signals import StopRequest
from mpinas.starting import load_start

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run stands, and as what.

    Attributes:
        fresh: set an old run there aside.
        start_from: checkpoint ``start.h5`` of another run, whose populations are taken.
        name: of the run among those that share the farm; empty for one that is alone.
        turn: runs of a lower one are served first.
        is_checked: this job has read its data already and found no fault in them.
    """

    path: Path
    fresh: bool = False
    start_from: Path | None = None
    name: str = ""
    turn: int = 0
    is_checked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What this job has, whichever runs it works for.

    Attributes:
        executor: with its workers ready; it is closed already where searches were stopped in
            order, and else stays the caller's to close.
        stopping: what signals asked for, see ``signals.stop_signals``.
        clock: of this job.
    """

    executor: Executor
    stopping: StopRequest
    clock: Clock


def run_search(config: RunConfig, options: RunOptions, job: Job) -> bool:
    """Starts a run or goes on with it, until it is done or has to stop.

    Returns:
        True when the search is done, False when it was stopped and can go on later.

    Raises:
        UserMustChange: nothing was started, nothing written.
        NoWorkerLeft: nobody is left to run a trial.
        DiskFault: the disk takes nothing more.
    """
    place = Place(
        path=run_path(config, options), fresh=options.fresh, start_from=options.start_from
    )
    with telling_of_the_disk(place.path), open_lane(config, place, job) as lane:
        return lane is not None and drive([lane], job, config.run.grace_s)


@contextmanager
def open_lane(config: RunConfig, place: Place, job: Job) -> Iterator[Lane | None]:
    """A run that is this job's meanwhile, ready to go on; None where the job is to stop.

    Raises:
        UserMustChange: nothing was started, nothing written.
        StoppedEarly: while data were prepared or read.
    """
    check_directory(config, place.path, fresh=place.fresh)
    dead = watch_owner(RunDirectory(place.path), job.stopping)
    if job.stopping():
        yield None
        return
    start_state = None
    if place.start_from is not None:
        begun = None if place.fresh else RunDirectory(place.path)
        start_state = load_start(config, place.start_from, begun)
    with job.stopping.at_once(job.clock.left_s()):
        directory = open_directory(
            config, place.path, fresh=place.fresh, is_checked=place.is_checked
        )
    owner = claim(directory, config.run.heartbeat_s, dead=dead)
    try:
        with logging_to(directory.log, place.name):
            with acting(place.name):
                renew_config(config, directory)
                mend_directory(directory)
                search = Search(search_setting(config, directory), directory, start_state)
                is_begun = search.generation > 0 or directory.journals()
                word = "going on" if is_begun else "beginning"
                logger.info("%s from %s", word, _newest(directory, search.generation))
            monitor = Monitor(
                directory, owner, workers=job.executor.workers(), generation=search.generation
            )
            clock = job.clock.another()
            if clock.deadline_s is not None:
                clock.learn_from(search.past())
            lane = Lane(
                search=search, monitor=monitor, clock=clock, name=place.name, turn=place.turn
            )
            yield lane
    finally:
        release(directory, owner)


def _newest(directory: RunDirectory, generation: int) -> Path:
    """The checkpoint before a generation."""
    return directory.checkpoint(generation - 1) if generation else directory.start


def drive(lanes: Sequence[Lane], job: Job, grace_s: float) -> bool:
    """Pumps to the end; however that comes, the account of the job is written down."""
    pump = Pump(lanes=lanes, executor=job.executor, stopping=job.stopping, grace_s=grace_s)
    for lane in lanes:
        lane.monitor.write(now=True)
    try:
        done = pump.run()
        for lane in lanes:
            with acting(lane.name):
                word = "done" if lane.search.done else "stopped"
                logger.info("%s at generation %d", word, lane.search.generation)
        return done
    finally:
        for lane in lanes:
            lane.monitor.write(now=True)


@contextmanager
def telling_of_the_disk(path: Path) -> Iterator[None]:
    """One line for a disk that takes nothing more, whatever was being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        line = fault(
            str(error.filename or path),
            f"cannot be written or read: {error.strerror}",
            allowed="All that is written stands",
            cure="Mend the disk or make space; the same command goes on",
        )
        raise DiskFault(line) from error

"""One job's part of a run: claim the directory, resume, drive the search, say how it ended.

This is what ``python -m mpinas run`` calls in the searching process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
from mpinas.pump import Pump
from mpinas.run_directory import RunDirectory
from mpinas.search import Search
from mpinas.signals import StopRequest
from mpinas.starting import load_start

logger = logging.getLogger(__name__)


def run_search(
    config: RunConfig,
    options: RunOptions,
    executor: Executor,
    stopping: StopRequest,
    clock: Clock,
) -> bool:
    """Starts a run or goes on with it, until it is done or has to stop.

    Args:
        executor: with its workers ready; it is closed already where the search was stopped in
            order, and else stays the caller's to close.
        stopping: what signals asked for, see ``signals.stop_signals``.
        clock: of this job.

    Returns:
        True when the search is done, False when it was stopped and can go on later.

    Raises:
        UserMustChange: nothing was started, nothing written.
        NoWorkerLeft: nobody is left to run a trial.
        DiskFault: the disk takes nothing more.
    """
    path = run_path(config, options)
    with _telling_of_the_disk(path):
        return _run_in(path, config, options, executor, stopping, clock)


def _run_in(
    path: Path,
    config: RunConfig,
    options: RunOptions,
    executor: Executor,
    stopping: StopRequest,
    clock: Clock,
) -> bool:
    check_directory(config, path, fresh=options.fresh)
    dead = watch_owner(RunDirectory(path), stopping)
    if stopping():
        return False
    start_state = None
    if options.start_from is not None:
        begun = None if options.fresh else RunDirectory(path)
        start_state = load_start(config, options.start_from, begun)
    directory = open_directory(config, path, fresh=options.fresh)
    owner = claim(directory, config.run.heartbeat_s, dead=dead)
    try:
        with _logging_to(directory.log):
            renew_config(config, directory)
            mend_directory(directory)
            search = Search(search_setting(config, directory), directory, start_state)
            logger.info("going on from %s", _newest(directory, search.generation))
            if clock.deadline_s is not None:
                clock.learn_from(search.past())
            monitor = Monitor(directory, owner, workers=executor.workers())
            pump = Pump(
                search=search,
                executor=executor,
                clock=clock,
                monitor=monitor,
                stopping=stopping,
                grace_s=config.run.grace_s,
            )
            return _drive(pump, search, monitor)
    finally:
        release(directory, owner)


def _newest(directory: RunDirectory, generation: int) -> Path:
    """The checkpoint before a generation."""
    return directory.checkpoint(generation - 1) if generation else directory.start


def _drive(pump: Pump, search: Search, monitor: Monitor) -> bool:
    """Pumps to the end; however that comes, the account of the job is written down."""
    monitor.write(now=True)
    try:
        done = search.done or pump.run()
        logger.info("%s at generation %d", "done" if done else "stopped", search.generation)
        return done
    finally:
        monitor.write(now=True)


@contextmanager
def _telling_of_the_disk(path: Path) -> Iterator[None]:
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


class _RunLog(logging.FileHandler):
    """The log of a run; that its disk is full is told elsewhere and must not end anything."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drops the line."""

    def close(self) -> None:
        """Closes the file, whatever of it could not be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Adds the run's log file, UTC times, for all of the package."""
    handler = _RunLog(path)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    package = logging.getLogger("mpinas")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()

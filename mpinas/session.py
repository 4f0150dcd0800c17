"""One job's part of a run: claim the directory, resume, drive the search, say how it ended.

This is what ``python -m mpinas run`` calls in the searching process.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mpinas.clock import Clock
from mpinas.config import RunConfig
from mpinas.config_file import dump_config
from mpinas.config_values import parse_walltime_s
from mpinas.dispatch.base import Executor
from mpinas.monitor import Monitor
from mpinas.opening import (
    RunOptions,
    check_directory,
    load_start,
    open_directory,
    run_path,
    search_setting,
)
from mpinas.ownership import claim, release
from mpinas.pump import Pump
from mpinas.run_directory import RunDirectory, write_whole
from mpinas.search import Search

logger = logging.getLogger(__name__)

RESERVED_SHARE = 0.1
"""Of the walltime, for the end; ``run.grace_s`` where that is shorter."""


def run_search(
    config: RunConfig, options: RunOptions, executor: Executor, stopping: Callable[[], bool]
) -> bool:
    """Starts a run or goes on with it, until it is done or has to stop.

    Args:
        executor: with its workers ready; it stays the caller's to close.
        stopping: whether the search was asked to stop, see ``signals.stop_signals``.

    Returns:
        True when the search is done, False when it was stopped and can go on later.

    Raises:
        UserMustChange: nothing was started, nothing written.
        NoWorkerLeft: nobody is left to run a trial.
    """
    clock = _clock(config, time.monotonic())
    path = run_path(config, options)
    check_directory(config, path, fresh=options.fresh)
    start_state = None
    if options.start_from is not None:
        begun = None if options.fresh else RunDirectory(path)
        start_state = load_start(config, options.start_from, begun)
    directory = open_directory(config, path, fresh=options.fresh)
    owner = claim(directory, config.run.heartbeat_s)
    try:
        with _logging_to(directory.log):
            write_whole(directory.config, dump_config(config))
            search = Search(search_setting(config, directory), directory, start_state)
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


def _drive(pump: Pump, search: Search, monitor: Monitor) -> bool:
    """Pumps to the end; however that comes, the account of the job is written down."""
    monitor.write(now=True)
    try:
        done = search.done or pump.run()
        logger.info("%s at generation %d", "done" if done else "stopped", search.generation)
        return done
    finally:
        monitor.write(now=True)


def _clock(config: RunConfig, began_s: float) -> Clock:
    if config.run.walltime is None:
        return Clock(deadline_s=None, reserve_s=0.0, now_s=time.monotonic)
    walltime_s = parse_walltime_s(config.run.walltime)
    return Clock(
        deadline_s=began_s + walltime_s,
        reserve_s=min(config.run.grace_s, RESERVED_SHARE * walltime_s),
        now_s=time.monotonic,
    )


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

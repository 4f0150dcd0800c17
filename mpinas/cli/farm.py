"""A command with workers: local ones, or the other ranks of the MPI job it is the first rank of."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click

from mpinas.cli.common import EXIT_DONE, EXIT_STOPPED, exit_code, guarded
from mpinas.config import RunSettings
from mpinas.dispatch import ending, launch, mpi
from mpinas.dispatch.base import Executor
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.mpi import MpiExecutor
from mpinas.dispatch.servant import ignore_signals, serve
from mpinas.dispatch.settings import WorkerSettings
from mpinas.run_log import OfRun
from mpinas.signals import let_signals_in

DISMISSAL_GRACE_S = 10.0
QUICK_DISMISSAL_S = 1.0
"""Where the job was asked to end: who has not said hello by then will not say farewell either."""

OpenExecutor = Callable[[WorkerSettings, RunSettings, Callable[[], bool]], Executor]
"""Its last argument tells whether the job was asked to end, for those that have to wait."""


def with_run_options(overrides: Sequence[str], **options: Any) -> tuple[str, ...]:
    """Overrides with the command line's own options behind them, so that these win."""
    given = {name: value for name, value in options.items() if value is not None}
    return (*overrides, *(f"run.{name}={json.dumps(value)}" for name, value in given.items()))


def run_on_farm(
    command: Callable[[OpenExecutor], int], *, local_workers_asked: bool = False
) -> NoReturn:
    """Takes this process's part in the job and leaves with its exit code.

    Args:
        command: what the first rank, or this process alone, does; gives the exit code. It need not
            open its executor.
        local_workers_asked: the user said ``--workers``.
    """
    asked = local_workers_asked
    if guarded(lambda: launch.wants_mpi(os.environ, local_workers_asked=asked)):
        if local_workers_asked:
            click.echo(
                "--workers counts local workers; under MPI every other rank is one", err=True
            )
        _join_and(command)
    sys.exit(exit_code(lambda: command(_open_local)))


def _open_local(
    settings: WorkerSettings, run: RunSettings, asked_to_end: Callable[[], bool]
) -> Executor:
    return LocalExecutor(settings, run.workers)


def _join_and(command: Callable[[OpenExecutor], int]) -> NoReturn:
    world = guarded(lambda: mpi.join(os.environ))
    ending.abort_on_error(world)
    if world.rank > 0:
        ignore_signals()
        let_signals_in()
        serve(world)
        ending.leave_as_worker(world, EXIT_DONE)
    opened: list[MpiExecutor] = []

    def open_executor(
        settings: WorkerSettings, run: RunSettings, asked_to_end: Callable[[], bool]
    ) -> Executor:
        ending.check_tolerance(world, run.fault_tolerance)
        opened.append(MpiExecutor(world, settings, asked_to_end))
        return opened[0]

    code = exit_code(lambda: command(open_executor))
    grace_s = QUICK_DISMISSAL_S if code == EXIT_STOPPED else DISMISSAL_GRACE_S
    unanswered = opened[0].unanswered if opened else ending.dismiss(world, grace_s)
    ending.leave(world, unanswered, code)


def log_to_standard_error() -> None:
    """Plain lines, a line per event, as a job's log keeps them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(run)s%(message)s", "%H:%M:%S"))
    handler.addFilter(OfRun())
    package = logging.getLogger("mpinas")
    package.setLevel(logging.INFO)
    package.addHandler(handler)

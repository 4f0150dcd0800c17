"""What ``run`` and ``compare`` have in common: a configuration, a clock, workers, and how it ends.

All ranks of a job import this module.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click

from mpinas.cli.common import EXIT_DONE, EXIT_STOPPED
from mpinas.cli.farm import OpenExecutor, log_to_standard_error
from mpinas.config import RunConfig
from mpinas.dispatch.settings import worker_settings
from mpinas.opening import RunOptions, read_config
from mpinas.session import Job
from mpinas.signals import stop_signals
from mpinas.walltime import job_clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a job is for.

    Attributes:
        path: of its directory.
        drive: does it until it is done (True) or has to stop.
        tell: prints what it has come to.
    """

    path: Path
    drive: Callable[[Job], bool]
    tell: Callable[[], None] = lambda: None


def work(
    options: RunOptions,
    plan: Callable[[RunConfig], Task],
    began_s: float,
    open_executor: OpenExecutor,
) -> int:
    """Does a task in this process, with other ranks or local processes as workers.

    Args:
        plan: what there is to do, by the configuration; before any worker is started.
        began_s: when the job began (``time.monotonic``); a walltime is counted from it.
    """
    log_to_standard_error()
    with stop_signals() as stopping:
        config = read_config(options)
        task = plan(config)
        clock = job_clock(config.run, os.environ, began_s=began_s)
        executor = open_executor(
            worker_settings(config.trial, config.run),
            config.run,
            lambda: stopping() or clock.over(),
        )
        try:
            done = task.drive(Job(executor=executor, stopping=stopping, clock=clock))
        finally:
            executor.close()
        words = "done" if done else "stopped early and saved; the same command goes on"
        with suppress(OSError):  # all that counts is saved, whatever the disk of the log says
            task.tell()
            click.echo(f"{words}: {task.path}")
        return EXIT_DONE if done else EXIT_STOPPED

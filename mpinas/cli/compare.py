"""``compare``: the searches of a comparison side by side, alone or as a rank of an MPI job."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from mpinas.cli.common import EXIT_DONE, EXIT_STOPPED
from mpinas.cli.farm import OpenExecutor, log_to_standard_error, run_on_farm, with_run_options
from mpinas.comparison import comparison_of, comparison_path
from mpinas.dispatch.settings import worker_settings
from mpinas.experiment import run_comparison
from mpinas.opening import RunOptions, read_config
from mpinas.session import Job
from mpinas.signals import stop_signals
from mpinas.walltime import job_clock


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Its directory [runs/<name>-comparison]."
)
@click.option("--experiments", type=click.IntRange(min=1), help="How many, each with every arm.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--workers", type=click.IntRange(min=1), help="Local workers, without mpiexec.")
@click.option(
    "--walltime",
    metavar="TIME",
    help="[D-]HH:MM:SS or minutes: start no trial that would end after it.",
)
@click.option("--fresh", is_flag=True, help="Set an old one in the directory aside, begin anew.")
def compare(
    config: Path,
    out: Path | None,
    experiments: int | None,
    overrides: tuple[str, ...],
    workers: int | None,
    walltime: str | None,
    fresh: bool,
) -> None:
    """Search with and without the shrink, from equal starts, and tell what it gained.

    Or any other arms: see comparison.arms. Goes on with a comparison that was stopped. Under
    mpiexec or srun rank 0 searches and the other ranks train; alone, workers are local.
    """
    began_s = time.monotonic()
    if experiments is not None:
        overrides = (*overrides, f"comparison.experiments={experiments}")
    options = RunOptions(
        config=config,
        out=out,
        overrides=with_run_options(overrides, workers=workers, walltime=walltime),
        fresh=fresh,
    )
    run_on_farm(partial(_compare, options, began_s), local_workers_asked=workers is not None)


def _compare(options: RunOptions, began_s: float, open_executor: OpenExecutor) -> int:
    """Drives all searches in this process.

    Args:
        began_s: when the job began (``time.monotonic``); a walltime is counted from it.
    """
    log_to_standard_error()
    with stop_signals() as stopping:
        config = read_config(options)
        path = comparison_path(config, options)
        comparison = comparison_of(config, path, str(options.config))
        clock = job_clock(config.run, os.environ, began_s=began_s)
        executor = open_executor(
            worker_settings(config.trial, config.run),
            config.run,
            lambda: stopping() or clock.over(),
        )
        try:
            job = Job(executor=executor, stopping=stopping, clock=clock)
            done = run_comparison(comparison, job, fresh=options.fresh)
        finally:
            executor.close()
    with suppress(OSError):  # all that counts is saved, whatever the disk of the log says
        _tell(path, done=done)
    return EXIT_DONE if done else EXIT_STOPPED


def _tell(path: Path, *, done: bool) -> None:
    """The table as it is now, and where the comparison stands."""
    from rich.console import Console

    from mpinas.report.comparison_tables import render_comparison
    from mpinas.report.comparison_view import load_comparison

    Console(highlight=False, soft_wrap=True).print(render_comparison(load_comparison(path)))
    words = "done" if done else "stopped early and saved; the same command goes on"
    click.echo(f"{words}: {path}")

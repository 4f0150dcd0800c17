"""``run``: a search, alone or as a rank of an MPI job.

All ranks of a job import this module; what other verbs need is imported by them.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import click

from mpinas.cli.common import EXIT_DONE, EXIT_STOPPED
from mpinas.cli.farm import OpenExecutor, log_to_standard_error, run_on_farm, with_run_options
from mpinas.dispatch.settings import worker_settings
from mpinas.dry_run import DryRun, dry_run
from mpinas.opening import RunOptions, read_config, run_path
from mpinas.report.tables import duration
from mpinas.session import Job, run_search
from mpinas.signals import let_signals_in, stop_signals
from mpinas.walltime import job_clock


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Run directory [runs/<name>].")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--workers", type=click.IntRange(min=1), help="Local workers, without mpiexec.")
@click.option(
    "--walltime",
    metavar="TIME",
    help="[D-]HH:MM:SS or minutes: start no trial that would end after it.",
)
@click.option(
    "--start-from",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Start with the populations of another run: its checkpoints/start.h5.",
)
@click.option("--fresh", is_flag=True, help="Set an old run in the directory aside, begin anew.")
@click.option("--dry-run", "dry", is_flag=True, help="Check everything, estimate, start nothing.")
def run(
    config: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    workers: int | None,
    walltime: str | None,
    start_from: Path | None,
    fresh: bool,
    dry: bool,
) -> None:
    """Start a search, or go on with one that was stopped.

    Under mpiexec or srun rank 0 searches and the other ranks train; alone, workers are local.
    """
    began_s = time.monotonic()
    options = RunOptions(
        config=config,
        out=out,
        overrides=with_run_options(overrides, workers=workers, walltime=walltime),
        start_from=start_from,
        fresh=fresh,
    )
    command = partial(_dry_run, options) if dry else partial(_search_here, options, began_s)
    run_on_farm(command, local_workers_asked=workers is not None)


def _search_here(options: RunOptions, began_s: float, open_executor: OpenExecutor) -> int:
    """Runs the search in this process, with other ranks or local processes as workers.

    Args:
        began_s: when the job began (``time.monotonic``); a walltime is counted from it.
    """
    log_to_standard_error()
    with stop_signals() as stopping:
        config = read_config(options)
        clock = job_clock(config.run, os.environ, began_s=began_s)
        executor = open_executor(
            worker_settings(config.trial, config.run),
            config.run,
            lambda: stopping() or clock.over(),
        )
        try:
            job = Job(executor=executor, stopping=stopping, clock=clock)
            done = run_search(config, options, job)
        finally:
            executor.close()
        path = run_path(config, options)
        words = "done" if done else "stopped early and saved; the same command goes on"
        with suppress(OSError):  # all that counts is saved, whatever the disk of the log says
            click.echo(f"{words}: {path}")
        return EXIT_DONE if done else EXIT_STOPPED


def _dry_run(options: RunOptions, open_executor: OpenExecutor) -> int:
    let_signals_in()
    config = read_config(options)
    executor = open_executor(worker_settings(config.trial, config.run), config.run, lambda: False)
    try:
        _print_dry_run(dry_run(config, options, executor))
    finally:
        executor.close()
    return EXIT_DONE


def _print_dry_run(plan: DryRun) -> None:
    click.echo(f"{plan.name}: everything is in order, nothing was started")
    click.echo(f"  trials         {plan.trials} ({plan.generations} x {plan.individuals})")
    click.echo(
        f"  images         {plan.training_images} training, {plan.validation_images} held out"
    )
    click.echo(
        f"  one candidate  {plan.costs.parameters:,} parameters, "
        f"{plan.costs.flops / 1e6:.2f} MFLOPs, {plan.layers} layers"
    )
    workers_s = plan.trial_s * plan.trials
    click.echo(f"  one trial      about {duration(plan.trial_s)} on {plan.device}")
    click.echo(
        f"  in all         about {workers_s / 3600:.2f} worker-hours, "
        f"{duration(workers_s / plan.workers)} on {plan.workers} workers"
    )
    click.echo(f"  disk           about {plan.disk_mb:.1f} MB, saved weights not counted")

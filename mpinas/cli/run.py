"""``run``: a search, alone or as a rank of an MPI job.

All ranks of a job import this module; what other verbs need is imported by them.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from mpinas.cli.common import EXIT_DONE
from mpinas.cli.farm import OpenExecutor, run_on_farm, with_run_options
from mpinas.cli.searching import Task, work
from mpinas.config import RunConfig
from mpinas.dispatch.settings import worker_settings
from mpinas.dry_run import DryRun, dry_run
from mpinas.opening import RunOptions, read_config, run_path
from mpinas.report.tables import counted, duration
from mpinas.session import run_search
from mpinas.signals import let_signals_in


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
    search = partial(work, options, partial(_search, options), began_s)
    command = partial(_dry_run, options) if dry else search
    run_on_farm(command, local_workers_asked=workers is not None)


def _search(options: RunOptions, config: RunConfig) -> Task:
    return Task(path=run_path(config, options), drive=lambda job: run_search(config, options, job))


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
    click.echo(f"  one trial      about {duration(plan.trial_s)} on {plan.device}")
    click.echo(
        f"  in all         about {plan.workers_s / 3600:.2f} worker-hours, "
        f"{duration(plan.workers_s / plan.workers)} on {counted(plan.workers, 'worker')}"
    )
    click.echo(f"  disk           about {plan.disk_mb:.1f} MB, saved weights not counted")

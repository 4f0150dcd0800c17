"""``compare``: the searches of a comparison side by side, alone or as a rank of an MPI job."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from mpinas.cli.common import EXIT_DONE
from mpinas.cli.farm import OpenExecutor, run_on_farm, with_run_options
from mpinas.cli.searching import Task, work
from mpinas.comparison import Comparison, comparison_of, comparison_path
from mpinas.config import RunConfig
from mpinas.dispatch.settings import worker_settings
from mpinas.dry_comparison import DryComparison, dry_comparison
from mpinas.experiment import run_comparison
from mpinas.opening import RunOptions, read_config
from mpinas.report.tables import counted, duration
from mpinas.signals import let_signals_in


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
@click.option("--dry-run", "dry", is_flag=True, help="Check everything, estimate, start nothing.")
def compare(
    config: Path,
    out: Path | None,
    experiments: int | None,
    overrides: tuple[str, ...],
    workers: int | None,
    walltime: str | None,
    fresh: bool,
    dry: bool,
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
    whole = partial(work, options, partial(_comparison, options), began_s)
    command = partial(_dry_run, options) if dry else whole
    run_on_farm(command, local_workers_asked=workers is not None)


def _planned(options: RunOptions, config: RunConfig) -> Comparison:
    return comparison_of(config, comparison_path(config, options), str(options.config))


def _comparison(options: RunOptions, config: RunConfig) -> Task:
    comparison = _planned(options, config)
    path = comparison.directory.path
    return Task(
        path=path,
        drive=lambda job: run_comparison(comparison, job, fresh=options.fresh),
        tell=lambda: _tell(path),
    )


def _dry_run(options: RunOptions, open_executor: OpenExecutor) -> int:
    let_signals_in()
    config = read_config(options)
    comparison = _planned(options, config)
    executor = open_executor(worker_settings(config.trial, config.run), config.run, lambda: False)
    try:
        _print_dry_run(dry_comparison(comparison, executor, fresh=options.fresh))
    finally:
        executor.close()
    return EXIT_DONE


def _print_dry_run(plan: DryComparison) -> None:
    experiments, arms = plan.comparison.experiments, plan.arms
    first = next(iter(arms.values()))
    click.echo(f"{plan.comparison.config.name}: everything is in order, nothing was started")
    click.echo(
        f"  searches       {experiments * len(arms)} "
        f"({counted(experiments, 'experiment')} x {counted(len(arms), 'arm')})"
    )
    click.echo(f"  trials         {plan.trials}")
    click.echo(
        f"  images         {first.training_images} training, {first.validation_images} held out"
    )
    for name, one in arms.items():
        click.echo(
            f"  {name:14} {one.generations} x {one.individuals} trials a search, "
            f"about {duration(one.trial_s)} each on {one.device}, not shrunk"
        )
    click.echo(
        f"  in all         about {plan.workers_s / 3600:.2f} worker-hours, "
        f"{duration(plan.workers_s / first.workers)} on {counted(first.workers, 'worker')}"
    )
    click.echo(f"  disk           about {plan.disk_mb:.1f} MB, saved weights not counted")


def _tell(path: Path) -> None:
    """The table as it is now."""
    from rich.console import Console

    from mpinas.report.comparison_tables import render_comparison
    from mpinas.report.comparison_view import load_comparison

    Console(highlight=False, soft_wrap=True).print(render_comparison(load_comparison(path)))

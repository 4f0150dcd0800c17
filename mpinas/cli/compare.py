"""``compare``: the searches of a comparison side by side, alone or as a rank of an MPI job."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import click

from mpinas.cli.farm import run_on_farm, with_run_options
from mpinas.cli.searching import Task, work
from mpinas.comparison import comparison_of, comparison_path
from mpinas.config import RunConfig
from mpinas.experiment import run_comparison
from mpinas.opening import RunOptions


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
    command = partial(work, options, partial(_comparison, options), began_s)
    run_on_farm(command, local_workers_asked=workers is not None)


def _comparison(options: RunOptions, config: RunConfig) -> Task:
    path = comparison_path(config, options)
    comparison = comparison_of(config, path, str(options.config))
    return Task(
        path=path,
        drive=lambda job: run_comparison(comparison, job, fresh=options.fresh),
        tell=lambda: _tell(path),
    )


def _tell(path: Path) -> None:
    """The table as it is now."""
    from rich.console import Console

    from mpinas.report.comparison_tables import render_comparison
    from mpinas.report.comparison_view import load_comparison

    Console(highlight=False, soft_wrap=True).print(render_comparison(load_comparison(path)))

"""``job``: a batch script for a scheduler, printed or submitted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from mpinas.cli.common import EXIT_DONE, exit_code
from mpinas.comparison import comparison_of, comparison_path
from mpinas.jobs.request import JobRequest
from mpinas.jobs.script import job_script
from mpinas.jobs.submit import submit
from mpinas.opening import RunOptions, read_config, run_path


@click.command("job")
@click.argument("scheduler", metavar="SCHEDULER")
@click.argument("config", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run directory [runs/<name>, or runs/<name>-comparison].",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--nodes", type=click.IntRange(1, 100_000), default=1, show_default=True)
@click.option(
    "--gpus-per-node",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="Each has a worker, or run.workers_per_gpu of them.",
)
@click.option(
    "--workers", type=click.IntRange(1, 1_000_000), help="Without GPUs, in all [run.workers]."
)
@click.option("--cpus-per-worker", type=click.IntRange(1, 1024), help="Cores [trial.threads].")
@click.option("--memory-mb", type=click.IntRange(min=1), help="Of a worker.")
@click.option("--walltime", metavar="TIME", help="[D-]HH:MM:SS or minutes [run.walltime].")
@click.option("--queue", "--partition", "queue", help="Where to queue.")
@click.option("--account", "--project", "account", help="Who pays.")
@click.option("--job-name", help="[name of the run]")
@click.option("--module", "modules", multiple=True, metavar="NAME", help="To load; repeatable.")
@click.option(
    "--environment",
    type=click.Path(path_type=Path),
    help="Virtual environment, or a file to source [the one you are in].",
)
@click.option(
    "--launcher",
    metavar="TEXT",
    help="'srun --mpi=pmix', mpiexec, jsrun, ... with options; none: one process, local workers.",
)
@click.option(
    "--directive", "directives", multiple=True, metavar="TEXT", help="Add one; repeatable."
)
@click.option(
    "--without", metavar="NAMES", default="", help="Leave out, as in gpu,memory,requeue,warning."
)
@click.option("--compare", "comparing", is_flag=True, help="A comparison, not one search.")
@click.option("--submit", "submitting", is_flag=True, help="Submit it instead of printing it.")
def job(
    scheduler: str,
    config: Path,
    out: Path | None,
    overrides: tuple[str, ...],
    comparing: bool,
    submitting: bool,
    **options: Any,
) -> None:
    """Print a complete batch script: for slurm, lsf, lsf-jsrun, or local for this machine.

    The configuration is checked first. docs/clusters.md has an example for each.
    """
    run_options = RunOptions(config=config, out=out, overrides=overrides)
    sys.exit(exit_code(lambda: _job(scheduler, run_options, comparing, submitting, options)))


def _job(
    scheduler: str,
    run_options: RunOptions,
    comparing: bool,
    submitting: bool,
    options: dict[str, Any],
) -> int:
    config = read_config(run_options)
    out = run_path(config, run_options)
    if comparing:
        out = comparison_path(config, run_options)
        comparison_of(config, out, str(run_options.config))  # refuses what is no arm
    here = Path.cwd()
    if options["cpus_per_worker"] is None:
        options["cpus_per_worker"] = config.trial.threads
    environment = options.pop("environment") or _own_environment()
    request = JobRequest(
        config=run_options.config.absolute(),
        directory=here,
        out=out.absolute(),
        verb="compare" if comparing else "run",
        python=sys.executable,
        overrides=tuple(run_options.overrides),
        environment=None if environment is None else environment.absolute(),
        without=tuple(name for name in options.pop("without").split(",") if name),
        **options,
    )
    script = job_script(scheduler, request, config)
    click.echo(submit(scheduler, script, here) if submitting else script, nl=submitting)
    return EXIT_DONE


def _own_environment() -> Path | None:
    """The virtual environment this command runs in, if it is one."""
    return Path(sys.prefix) if sys.prefix != sys.base_prefix else None

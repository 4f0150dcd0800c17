"""``doctor``: what is wrong here, and how to mend it; alone, or as all ranks of a job."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console

from mpinas import comparison_opening, opening
from mpinas.cli.common import EXIT_DONE, EXIT_USER_MUST_CHANGE, guarded
from mpinas.comparison import ComparisonDirectory, comparison_path
from mpinas.config import RunConfig
from mpinas.dispatch import ending, launch, mpi
from mpinas.dispatch.post import World
from mpinas.dispatch.settings import WorkerSettings, worker_settings
from mpinas.doctor.children import one_line
from mpinas.doctor.examination import Report, Wish, answer, examine_alone, examine_job
from mpinas.doctor.findings import is_wrong
from mpinas.doctor.world_checks import Launch
from mpinas.errors import LaunchFault, UserMustChange
from mpinas.opening import RunOptions, read_config, run_path
from mpinas.problems import missing_data
from mpinas.report.doctor_view import finding_lines, rank_table, to_json_view
from mpinas.run_directory import RunDirectory

TABLE_WIDTH = 100
"""Of a log, which has no terminal to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """This process as it was started: ``world`` is None where it is alone, or believes to be."""

    launch: Launch
    world: World | None = None


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--out", type=click.Path(path_type=Path), help="Where runs are to be [runs].")
@click.option("--workers", type=click.IntRange(min=1), help="Local workers, without mpiexec.")
@click.option(
    "--time-limit",
    "limit_s",
    type=click.FloatRange(min=1),
    default=180.0,
    show_default=True,
    metavar="SECONDS",
    help="For each process that is tried.",
)
@click.option("--json", "as_json", is_flag=True, help="The machine-readable form.")
def doctor(
    config: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    limit_s: float,
    as_json: bool,
) -> None:
    """Find what is wrong here: MPI, ranks, GPUs, processors, TensorFlow, files, time.

    Start it as the run is to be started: alone, or under mpiexec or srun. With CONFIG it looks at
    what that run needs. Exit code 2 if anything is wrong.
    """
    wish = guarded(lambda: _wish(config, overrides, out, workers, limit_s))
    start = _start()
    if start.world is not None:
        ending.abort_on_error(start.world)
        if start.world.rank > 0:
            heard = answer(start.world, os.environ, limit_s)
            ending.leave_as_worker(start.world, EXIT_DONE if heard else EXIT_USER_MUST_CHANGE)
        report = examine_job(start.world, start.launch, wish)
        ending.leave(start.world, report.unanswered, _show(report, as_json=as_json))
    if launch.launcher_rank(os.environ) > 0:
        # One of many that believe to be alone. The first of them tells; where another ended with
        # an error, mpiexec would kill it before it has.
        sys.exit(EXIT_DONE)
    sys.exit(_show(examine_alone(start.launch, wish), as_json=as_json))


def _wish(
    config: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
    workers: int | None,
    limit_s: float,
) -> Wish:
    if config is None:
        settings = WorkerSettings(runner="keras")
        return Wish(
            settings=settings, out=out or Path("runs"), workers=workers or 1, limit_s=limit_s
        )
    options = RunOptions(config=config, out=out, overrides=overrides)
    read = read_config(options)
    return Wish(
        settings=worker_settings(read.trial, read.run),
        out=run_path(read, options),
        workers=workers or read.run.workers,
        limit_s=limit_s,
        missing_data=() if _has_data(read, options) else tuple(missing_data(read.problem)),
    )


def _has_data(config: RunConfig, options: RunOptions) -> bool:
    """Whether a run or a comparison has begun there, and has these data of its own."""
    run = RunDirectory(run_path(config, options))
    comparison = ComparisonDirectory(comparison_path(config, options))
    with suppress(UserMustChange):  # what stands there cannot be read; the run will say so
        if run.exists() and not opening.must_prepare(config, run):
            return True
    with suppress(UserMustChange):
        return comparison.exists() and not comparison_opening.must_prepare(config, comparison)
    return False


def _start() -> _Start:
    """Joins the job, if a launcher says that there is one."""
    environment = dict(os.environ)
    try:
        library = mpi.library_version()
    except (ImportError, RuntimeError, OSError) as error:
        return _Start(launch=_launch(environment, error=one_line(error)))
    promise = launch.promised_world(environment)
    if not promise.launched:
        return _Start(launch=_launch(environment, library=library))
    if launch.launcher_rank(environment) == 0:
        click.echo(f"MPI starts; where nothing follows, it is at fault. {promise.cure}.", err=True)
    try:
        world = mpi.join(environment, insist=False)
    except LaunchFault as error:
        return _Start(launch=_launch(environment, library=library, error=str(error)))
    joined = _launch(environment, library=library, size=world.size)
    return _Start(launch=joined, world=world if world.size > 1 else None)


def _launch(
    environment: dict[str, str], *, library: str = "", error: str = "", size: int = 1
) -> Launch:
    own = Path(sysconfig.get_path("scripts")) / "mpiexec"
    return Launch(
        environment=environment,
        library=library,
        error=error,
        size=size,
        mpiexec=shutil.which("mpiexec") or "",
        own_mpiexec=str(own) if own.exists() else "",
    )


def _show(report: Report, *, as_json: bool) -> int:
    """Prints the report; gives the exit code."""
    if as_json:
        click.echo(json.dumps(to_json_view(report), allow_nan=False))
    else:
        for line in finding_lines(report):
            click.echo(line)
        width = None if sys.stdout.isatty() else TABLE_WIDTH
        console = Console(highlight=False, color_system=None, width=width)
        console.print(rank_table(report))
    return EXIT_USER_MUST_CHANGE if is_wrong(report.findings) else EXIT_DONE

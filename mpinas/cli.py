"""The command line: one verb, one function. The only place that prints.

All ranks of a job import this module, for ``run``; what other verbs need is imported by them.

Exit codes: 0 done, 1 failed, 2 the user must change something, 75 stopped early and saved.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console

from mpinas import __version__
from mpinas.config import RunConfig
from mpinas.config_file import load_problem
from mpinas.dispatch import launch, mpi
from mpinas.dispatch.base import Executor
from mpinas.dispatch.local import LocalExecutor
from mpinas.dispatch.mpi import MpiExecutor
from mpinas.dispatch.servant import ignore_signals, serve
from mpinas.dispatch.settings import worker_settings
from mpinas.dry_run import DryRun, dry_run
from mpinas.errors import MpinasError, UserMustChange, fault
from mpinas.opening import KNOWLEDGE, RunOptions, problem_of, read_config, run_path
from mpinas.report.run_view import load_run, to_json_view
from mpinas.report.tables import duration, render
from mpinas.session import run_search
from mpinas.signals import STOP_SIGNALS, let_signals_in, stop_signals

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USER_MUST_CHANGE = 2
EXIT_STOPPED = 75
EXIT_INTERRUPTED = 130

DISMISSAL_GRACE_S = 10.0


class _RunByDefault(click.Group):
    """``python -m mpinas CONFIG.yaml`` is short for ``run CONFIG.yaml``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and Path(args[0]).suffix in (".yaml", ".yml"):
            args = ["run", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_RunByDefault, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mpinas")
@click.pass_context
def main(context: click.Context) -> None:
    """Neural architecture search over MPI: CoDeepNEAT for Keras."""
    if context.invoked_subcommand not in ("run", "prepare"):
        let_signals_in()


@main.command()
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
    options = RunOptions(
        config=config,
        out=out,
        overrides=_with_options(overrides, workers=workers, walltime=walltime),
        start_from=start_from,
        fresh=fresh,
    )
    command = partial(_dry_run if dry else _search_here, options)
    if _guarded(lambda: launch.wants_mpi(os.environ, local_workers_asked=workers is not None)):
        if workers is not None:
            click.echo(
                "--workers counts local workers; under MPI every other rank is one", err=True
            )
        _join_and(command)
    sys.exit(_exit_code(lambda: command(_local_executor)))


@main.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The stable machine-readable form.")
def show(run_directory: Path, as_json: bool) -> None:
    """Show where a run is: leaderboard, failures, utilisation."""
    view = _guarded(lambda: load_run(run_directory, KNOWLEDGE))
    if as_json:
        click.echo(json.dumps(to_json_view(view), allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(render(view))


@main.command("prepare")
@click.argument("name", metavar="PROBLEM")
@click.option("--from", "path", metavar="PATH", help="The data: a file, a folder, an archive.")
@click.option("--out", type=click.Path(path_type=Path), help="The prepared file [data/PROBLEM.h5].")
@click.option("--classes", type=int, metavar="N", help="Only the first N classes.")
@click.option("--image-size", metavar="HEIGHTxWIDTH", help="Scale and crop image files to this.")
@click.option("--channels", type=int, metavar="N", help="Of image files: 1 grey, 3 RGB.")
@click.option("--skip-unreadable", is_flag=True, help="Leave out image files that are damaged.")
def prepare_data(
    name: str, path: str | None, out: Path | None, image_size: str | None, **options: Any
) -> None:
    """Turn a data set into the one file that all workers map.

    PROBLEM is digits, mnist, fashion_mnist, cifar10, cifar100 or tiny_imagenet, which are
    downloaded without --from; or images, arrays or python, for data of your own.
    """
    size = None if image_size is None else _guarded(lambda: _height_and_width(image_size))
    raw = {"name": name, "path": path, "image_size": size, **options}
    sys.exit(_exit_code(lambda: _prepare(raw, out)))


def _height_and_width(text: str) -> list[int]:
    """``64x48`` as two numbers."""
    match = re.fullmatch("([0-9]{1,5})x([0-9]{1,5})", text)
    if match is None:
        allowed = "Allowed: height x width, such as 64x48"
        raise UserMustChange(
            fault("--image-size", "not of the form HEIGHTxWIDTH", f"--image-size={text!r}", allowed)
        )
    return [int(length) for length in match.groups()]


def _prepare(raw: dict[str, Any], out: Path | None) -> int:
    from mpinas.problems import open_prepared
    from mpinas.problems.provision import provide
    from mpinas.report.data_view import prepared_lines
    from mpinas.report.progress import download_progress

    _end_orderly()
    problem = load_problem(raw, KNOWLEDGE)
    if problem.path is not None and sys.stderr.isatty():
        click.echo(f"reading {problem.path}", err=True)
    with download_progress(Console(stderr=True, highlight=False)) as report:
        file = provide(problem, out, report)
    for line in prepared_lines(file, open_prepared(file)):
        click.echo(line)
    return EXIT_DONE


def _end_orderly() -> None:
    """Every end is that of Ctrl-C from here on, so that no half-written file is left."""
    for number in (signal.SIGHUP, *STOP_SIGNALS):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(number, signal.default_int_handler)
    let_signals_in()


@main.command("shrink")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--problem", required=True, type=click.Path(path_type=Path), metavar="CONFIG")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key.")
@click.option("--flops", required=True, type=float, help="Share of the model's FLOPs, or a count.")
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), metavar="FILE.keras")
@click.option("--epochs", type=click.IntRange(min=0), help="After the cut [trial.epochs].")
@click.option("--expand", is_flag=True, help="Cut to half of the target, widen, begin anew.")
@click.option(
    "--pixels",
    type=click.Choice(["standardised", "unit", "raw"]),
    default="standardised",
    show_default=True,
    help="What the model reads: mean 0 and deviation 1 per channel, 0..1, or 0..255.",
)
def shrink_model(problem: Path, overrides: tuple[str, ...], **options: Any) -> None:
    """Shrink a Keras model to a FLOP target by one regularised run, and train it.

    CONFIG says on which problem, and how: its trial section.
    """
    run_options = RunOptions(config=problem, overrides=overrides)
    sys.exit(_exit_code(lambda: _shrink(run_options, options)))


def _shrink(run_options: RunOptions, options: dict[str, Any]) -> int:
    from mpinas.report.adapted_view import adapted_lines
    from mpinas.trial.adaptation import Wish

    _end_orderly()
    config = read_config(run_options)
    epochs = config.trial.epochs if options["epochs"] is None else options["epochs"]
    wish = Wish(**{**options, "epochs": epochs}, seed=config.seed)
    _check_out(wish.model, wish.out)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from mpinas.trial.adapting import adapt, load_model
    from mpinas.trial.training import start_tensorflow

    start_tensorflow(config.trial.threads)
    model = load_model(wish.model)
    with problem_of(config) as problem:
        adapted = adapt(model, problem, config.trial, wish)
    for line in adapted_lines(wish.out, adapted):
        click.echo(line)
    return EXIT_DONE


def _check_out(model: Path, out: Path) -> None:
    """Refuses at once what could not be written after hours of training."""
    rule = ""
    if out.suffix != ".keras":
        rule = "not a file of a Keras model"
    elif out.resolve() == model.resolve():
        rule = "it is the model itself"
    elif not out.parent.is_dir() or out.is_dir():
        rule = "no file can be written there"
    if rule:
        allowed = "Allowed: NAME.keras in a folder that is there"
        raise UserMustChange(fault("--out", rule, f"--out={out}", allowed))


@main.group("config")
def config_group() -> None:
    """What a configuration may say: for editors, and for people."""


@config_group.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of a configuration file."""
    from mpinas.config_schema import json_schema

    click.echo(json.dumps(json_schema(KNOWLEDGE), indent=2))


@config_group.command("reference")
def config_reference() -> None:
    """Print the page on all keys, docs/configuration.md."""
    from mpinas.config_reference import reference

    click.echo(reference(KNOWLEDGE), nl=False)


def _with_options(overrides: Sequence[str], **options: Any) -> tuple[str, ...]:
    """Overrides with the command line's own options behind them, so that these win."""
    given = {name: value for name, value in options.items() if value is not None}
    return (*overrides, *(f"run.{name}={json.dumps(value)}" for name, value in given.items()))


OpenExecutor = Callable[[RunConfig], Executor]


def _search_here(options: RunOptions, open_executor: OpenExecutor) -> int:
    """Runs the search in this process, with other ranks or local processes as workers."""
    _log_to_standard_error()
    with stop_signals() as stopping:
        config = read_config(options)
        executor = open_executor(config)
        try:
            done = run_search(config, options, executor, stopping)
        finally:
            executor.close()
        path = run_path(config, options)
        words = "done" if done else "stopped early and saved; the same command goes on"
        click.echo(f"{words}: {path}")
        return EXIT_DONE if done else EXIT_STOPPED


def _dry_run(options: RunOptions, open_executor: OpenExecutor) -> int:
    let_signals_in()
    config = read_config(options)
    executor = open_executor(config)
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


def _local_executor(config: RunConfig) -> Executor:
    return LocalExecutor(worker_settings(config.trial, config.run), config.run.workers)


def _join_and(command: Callable[[OpenExecutor], int]) -> NoReturn:
    """Takes this process's part in an MPI job; never returns."""
    world = _guarded(lambda: mpi.join(os.environ))
    mpi.abort_on_error(world)
    if world.rank > 0:
        ignore_signals()
        let_signals_in()
        serve(world)
        sys.exit(EXIT_DONE)
    opened: list[MpiExecutor] = []

    def open_executor(config: RunConfig) -> Executor:
        opened.append(MpiExecutor(world, worker_settings(config.trial, config.run)))
        return opened[0]

    code = _exit_code(lambda: command(open_executor))
    unanswered = opened[0].unanswered if opened else mpi.dismiss(world, DISMISSAL_GRACE_S)
    mpi.leave(world, unanswered, code)


def _guarded(function: Callable[[], Any]) -> Any:
    """The function's value; where the user must change something, its lines and exit code 2."""
    try:
        return function()
    except UserMustChange as error:
        _complain(error)
        sys.exit(EXIT_USER_MUST_CHANGE)


def _exit_code(function: Callable[[], int]) -> int:
    """The function's exit code, or that of the error it ends with. Bugs are not caught."""
    try:
        return function()
    except UserMustChange as error:
        _complain(error)
        return EXIT_USER_MUST_CHANGE
    except (MpinasError, OSError) as error:
        _complain(error)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _complain(error: Exception) -> None:
    click.echo(str(error), err=True)


def _log_to_standard_error() -> None:
    """Plain lines, a line per event, as a job's log keeps them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    package = logging.getLogger("mpinas")
    package.setLevel(logging.INFO)
    package.addHandler(handler)

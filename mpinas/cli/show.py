"""``show``: where a run is, once or as it goes on; and one trial of it."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from mpinas.cli.common import EXIT_DONE, exit_code
from mpinas.comparison import ComparisonDirectory
from mpinas.opening import KNOWLEDGE
from mpinas.report.comparison_tables import render_comparison
from mpinas.report.comparison_view import load_comparison
from mpinas.report.comparison_view import to_json_view as to_json_view_of_comparison
from mpinas.report.following import Watch
from mpinas.report.live_view import LiveScreen, change_line, progress_of
from mpinas.report.run_view import RunView, load_run, to_json_view
from mpinas.report.tables import WIDE, headline, render
from mpinas.report.trial_tables import trial_parts
from mpinas.report.trial_view import load_trial
from mpinas.report.trial_view import to_json_view as to_json_view_of_trial
from mpinas.signals import StopRequest, stop_signals

LOOK_EVERY_S = 1.0
"""As often as a job writes down where it is."""
NOTICE_S = 0.1
TERMINALS_WITHOUT_SCREEN = ("", "dumb", "unknown")


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("trial", required=False)
@click.option(
    "--follow/--once",
    "follow",
    default=None,
    help="Go on until the run ends, or print where it is now [on a terminal --follow].",
)
@click.option("--json", "as_json", is_flag=True, help="The stable machine-readable form.")
def show(run_directory: Path, trial: str | None, follow: bool | None, as_json: bool) -> None:
    """Show where a run is: leaderboard, failures, utilisation. With TRIAL all about that one.

    A run that goes on is followed on a terminal until it ends or you press Ctrl-C, which does not
    end the run. In a pipe or a log --follow prints a line for each change.
    """
    if follow and (as_json or trial is not None):
        raise click.UsageError("--follow is for a whole run, and not for --json")
    if trial is not None:
        sys.exit(exit_code(lambda: _show_trial(run_directory, trial, as_json=as_json)))
    if as_json:
        sys.exit(exit_code(lambda: _show_json(run_directory)))
    wanted = sys.stdout.isatty() if follow is None else follow
    sys.exit(exit_code(lambda: _show_run(run_directory, follow=wanted)))


def _show_json(run_directory: Path) -> int:
    if ComparisonDirectory(run_directory).exists():
        comparison = load_comparison(run_directory)
        click.echo(json.dumps(to_json_view_of_comparison(comparison), allow_nan=False))
        return EXIT_DONE
    view = load_run(run_directory, KNOWLEDGE)
    click.echo(json.dumps(to_json_view(view), allow_nan=False))
    return EXIT_DONE


def _show_trial(run_directory: Path, trial: str, *, as_json: bool) -> int:
    view = load_trial(run_directory, trial, KNOWLEDGE)
    if as_json:
        click.echo(json.dumps(to_json_view_of_trial(view), allow_nan=False))
    else:
        console = _console()
        for part in trial_parts(view, wide=console.width >= WIDE):
            # Tables have no lines that could be longer than they are made.
            console.print(part, soft_wrap=console.soft_wrap and isinstance(part, Text))
    return EXIT_DONE


def _show_run(run_directory: Path, *, follow: bool) -> int:
    if ComparisonDirectory(run_directory).exists():
        _console().print(render_comparison(load_comparison(run_directory)))
        return EXIT_DONE
    watch = Watch(run_directory, KNOWLEDGE)
    console = _console()
    if follow and watch.view.status == "running":
        with stop_signals() as stopping, _quiet():
            _follow(watch, console, stopping)
        if stopping():
            for line in headline(watch.view):
                console.print(Text(line))
            return EXIT_DONE
    console.print(render(watch.view, wide=console.width >= WIDE))
    return EXIT_DONE


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal has every letter
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def _follow(watch: Watch, console: Console, stopping: StopRequest) -> None:
    """Shows what a running run does, until it ends or somebody asks to stop."""
    if not _has_screen(console):
        _look_until_the_end(watch, stopping, _Lines(console))
        return
    screen = LiveScreen(view=watch.view)
    with Live(screen, console=console, screen=True, auto_refresh=False) as live:
        _look_until_the_end(
            watch, stopping, lambda view: live.update(LiveScreen(view=view), refresh=True)
        )


def _look_until_the_end(
    watch: Watch, stopping: StopRequest, tell: Callable[[RunView], None]
) -> None:
    tell(watch.view)
    while watch.view.status == "running" and not stopping():
        look_at_s = time.monotonic() + LOOK_EVERY_S
        while time.monotonic() < look_at_s and not stopping():
            time.sleep(NOTICE_S)
        if watch.look().status == "running":
            tell(watch.view)


class _Lines:
    """Prints a line wherever something has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: tuple[str, int, int, int] | None = None

    def __call__(self, view: RunView) -> None:
        if progress_of(view) != self._said:
            self._said = progress_of(view)
            self._console.print(Text(change_line(view)))
            self._console.file.flush()


def _has_screen(console: Console) -> bool:
    """Whether lines can be written over; rich believes so of a terminal that says nothing."""
    is_dumb = os.environ.get("TERM", "") in TERMINALS_WITHOUT_SCREEN
    return sys.stdout.isatty() and console.is_terminal and not is_dumb


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps warnings about damaged lines off the screen; the run's own log has them."""
    package, nobody = logging.getLogger("mpinas"), logging.NullHandler()
    package.addHandler(nobody)
    try:
        yield
    finally:
        package.removeHandler(nobody)

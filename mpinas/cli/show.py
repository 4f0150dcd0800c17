"""``show``: where a run is, once or as it goes on; and one trial of it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from mpinas.cli.common import EXIT_DONE, exit_code
from mpinas.cli.following import FollowedComparison, FollowedRun, show_to_the_end
from mpinas.comparison import ComparisonDirectory
from mpinas.opening import KNOWLEDGE
from mpinas.report.comparison_json import to_json_view as to_json_view_of_comparison
from mpinas.report.comparison_view import load_comparison
from mpinas.report.run_view import load_run, to_json_view
from mpinas.report.tables import WIDE
from mpinas.report.trial_tables import trial_parts
from mpinas.report.trial_view import load_trial
from mpinas.report.trial_view import to_json_view as to_json_view_of_trial


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
    """Show where a run or a comparison is: leaderboard, failures, utilisation, tables.

    With TRIAL all about that one. A run that goes on is followed on a terminal until it ends or you
    press Ctrl-C, which does not end the run. In a pipe or a log --follow prints a line for each
    change.
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
    is_comparison = ComparisonDirectory(run_directory).exists()
    followed = FollowedComparison(run_directory) if is_comparison else FollowedRun(run_directory)
    show_to_the_end(followed, _console(), follow=follow)
    return EXIT_DONE


def _console() -> Console:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # not every terminal has every letter
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())

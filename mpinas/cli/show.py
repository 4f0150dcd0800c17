"""``show``: where a run is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from mpinas.cli.common import guarded
from mpinas.opening import KNOWLEDGE
from mpinas.report.run_view import load_run, to_json_view
from mpinas.report.tables import render


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The stable machine-readable form.")
def show(run_directory: Path, as_json: bool) -> None:
    """Show where a run is: leaderboard, failures, utilisation."""
    view = guarded(lambda: load_run(run_directory, KNOWLEDGE))
    if as_json:
        click.echo(json.dumps(to_json_view(view), allow_nan=False))
        return
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(render(view))

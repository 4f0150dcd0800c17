"""``report``: a page people look at, of a run that lives, was killed or is done."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mpinas.cli.common import EXIT_DONE, exit_code
from mpinas.report.page import save_page
from mpinas.report.search_page import TRIALS_FILE, search_page
from mpinas.report.trial_csv import trials_csv


@click.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Where it is written [RUN/report].")
def report(run_directory: Path, out: Path | None) -> None:
    """Draw a run: one HTML file that needs nothing else, its figures, a CSV of all trials."""
    sys.exit(exit_code(lambda: _report(run_directory, out or run_directory / "report")))


def _report(run_directory: Path, folder: Path) -> int:
    page, view = search_page(run_directory)
    place = save_page(page, folder, {TRIALS_FILE: trials_csv(view.results)})
    click.echo(f"written: {click.format_filename(place)}")
    return EXIT_DONE

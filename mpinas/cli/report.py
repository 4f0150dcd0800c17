"""``report``: a page people look at, of a search or of comparisons, alive, killed or done."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from mpinas.cli.common import EXIT_DONE, exit_code
from mpinas.comparison import ComparisonDirectory
from mpinas.errors import RunDirectoryFault, fault
from mpinas.report.comparison_page import comparison_csv, comparison_page
from mpinas.report.comparison_view import load_comparison
from mpinas.report.page import save_page
from mpinas.report.search_page import TRIALS_FILE, search_page
from mpinas.report.trial_csv import trials_csv


@click.command()
@click.argument("paths", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where it is written [RUN/report; of several: comparisons-report beside them].",
)
def report(paths: tuple[Path, ...], out: Path | None) -> None:
    """Draw a search or a comparison: one HTML file, its figures, a CSV of all trials.

    Several comparisons, as of several data sets, get one page, with a column of Table 1 for each.
    """
    sys.exit(exit_code(lambda: _report(paths, out)))


def _report(paths: tuple[Path, ...], out: Path | None) -> int:
    paths = tuple({path.resolve(): path for path in paths}.values())
    folder = out or _standard_folder(paths)
    if len(paths) == 1 and not ComparisonDirectory(paths[0]).exists():
        page, view = search_page(paths[0])
        csv = trials_csv(view.results)
    else:
        _refuse_searches(paths)
        views = [load_comparison(path) for path in paths]
        page = comparison_page(views, folder, files=(TRIALS_FILE,))
        csv = comparison_csv(views)
    place = save_page(page, folder, {TRIALS_FILE: csv})
    click.echo(f"written: {click.format_filename(place)}")
    return EXIT_DONE


def _standard_folder(paths: tuple[Path, ...]) -> Path:
    if len(paths) == 1:
        return paths[0] / "report"
    return Path(os.path.commonpath([path.resolve().parent for path in paths])) / (
        "comparisons-report"
    )


def _refuse_searches(paths: tuple[Path, ...]) -> None:
    """Searches have a page each; only comparisons stand beside each other."""
    others = [path for path in paths if not ComparisonDirectory(path).exists()]
    if others:
        raise RunDirectoryFault(
            fault(
                str(others[0]),
                "is not a comparison, and several of anything else have no page in common",
                f"{len(paths)} directories",
                cure="Give comparisons only, or one search at a time",
            )
        )

"""``prepare``: a data set becomes the one file that all workers map."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from mpinas.cli.common import EXIT_DONE, end_orderly, exit_code, guarded
from mpinas.config_file import load_problem
from mpinas.errors import UserMustChange, fault
from mpinas.opening import KNOWLEDGE


@click.command("prepare")
@click.argument("name", metavar="PROBLEM")
@click.option("--from", "path", metavar="PATH", help="The data: a file, a folder, an archive.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The prepared file [data/PROBLEM.h5; for data of your own, data/NAME.h5].",
)
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
    size = None if image_size is None else guarded(lambda: _height_and_width(image_size))
    raw = {"name": name, "path": path, "image_size": size, **options}
    sys.exit(exit_code(lambda: _prepare(raw, out)))


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

    end_orderly()
    problem = load_problem(raw, KNOWLEDGE)
    if problem.path is not None and sys.stderr.isatty():
        click.echo(f"reading {problem.path}", err=True)
    with download_progress(Console(stderr=True, highlight=False)) as report:
        file = provide(problem, out, report)
    for line in prepared_lines(file, open_prepared(file)):
        click.echo(line)
    return EXIT_DONE

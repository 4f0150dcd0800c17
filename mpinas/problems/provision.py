"""What ``python -m mpinas prepare`` does: data from a path or the internet to one prepared file."""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Callable, Iterator

from mpinas.config import ProblemConfig
from mpinas.problems import DATA_FOLDER, PROBLEMS, prepare
from mpinas.problems.downloads import DOWNLOADS, download
from mpinas.problems.prepared import cannot_be_written, refuse_other_file

ReportBytes = Callable[[int, int], None]
"""Called with the bytes that have come and the bytes there are."""


def provide(problem: ProblemConfig, file: pathlib.Path | None, report: ReportBytes) -> pathlib.Path:
    """Downloads the data set where no path is given, and prepares it.

    Args:
        file: to be written; None for ``data/<name>.h5``, whose folder is made.
        report: of a download.

    Returns:
        The prepared file.

    Raises:
        DataFault: there are no such data, they are faulty, or the file cannot be written; no
            file is left then.
    """
    target = file if file is not None else pathlib.Path(DATA_FOLDER) / f"{_name(problem)}.h5"
    with _place(target, make=file is None):
        refuse_other_file(target)
        # To be told after hours of reading that there is no place for it would be late.
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".place-"):
            pass
        if problem.path is None and problem.name in DOWNLOADS:
            _download_and_prepare(problem, target, report)
        else:
            path = pathlib.Path(problem.path).expanduser().absolute() if problem.path else None
            prepare(problem, target, source=str(path) if path else None)
    return target


def _name(problem: ProblemConfig) -> str:
    """Of the file: the standard data set's, or what the user's own data are called."""
    if problem.path is None or not PROBLEMS[problem.name].needs_path:
        return problem.name
    return pathlib.Path(problem.path.partition(":")[0]).name.split(".")[0] or problem.name


@contextlib.contextmanager
def _place(file: pathlib.Path, *, make: bool) -> Iterator[None]:
    """Has the file's folder there while inside; one made for nothing is removed again."""
    folder = file.parent
    made = make and not folder.exists()
    try:
        if made:
            folder.mkdir()
        yield
    except OSError as error:
        raise cannot_be_written(file, error) from error
    finally:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _download_and_prepare(
    problem: ProblemConfig, target: pathlib.Path, report: ReportBytes
) -> None:
    """Downloads beside the target, where there must be room anyway."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        wanted = DOWNLOADS[problem.name]
        files = download(wanted, pathlib.Path(folder), report)
        path = files[0] if len(files) == 1 else pathlib.Path(folder)
        prepare(
            problem.model_copy(update={"path": str(path)}),
            target,
            source=", ".join(one.address for one in wanted),
        )

"""How far a download is: a bar on a terminal, a plain line for each tenth in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

TENTHS = 10


@contextmanager
def download_progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Gives what is to be called with the bytes that have come and the bytes there are."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Progress(BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("download", visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


class _Lines:
    """Says each tenth once."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = -1

    def __call__(self, done: int, total: int) -> None:
        tenth = TENTHS * done // max(total, 1)
        if tenth > self._said:
            self._said = tenth
            self._console.print(f"downloaded {done / 1e6:.1f} of {total / 1e6:.1f} MB")

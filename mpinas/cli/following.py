"""What is followed on a terminal or in a log until it ends: a search or a comparison."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from mpinas.opening import KNOWLEDGE
from mpinas.report.comparison_screen import ComparisonScreen
from mpinas.report.comparison_tables import headline as comparison_headline
from mpinas.report.comparison_tables import render_comparison
from mpinas.report.comparison_view import is_running
from mpinas.report.following import ComparisonWatch, Watch
from mpinas.report.live_view import LiveScreen, change_line, progress_of
from mpinas.report.tables import WIDE, headline, render
from mpinas.signals import StopRequest, stop_signals

LOOK_EVERY_S = 1.0
"""As often as a job writes down where it is."""
NOTICE_S = 0.1
TERMINALS_WITHOUT_SCREEN = ("", "dumb", "unknown")


class Followed(Protocol):
    """Something that goes on."""

    def is_running(self) -> bool:
        """As it was looked at last."""

    def look(self) -> None:
        """Looks again."""

    def progress(self) -> Hashable:
        """What has changed where a line is worth it."""

    def line(self) -> str:
        """Where it is, for a log."""

    def screen(self) -> RenderableType:
        """Where it is, for a terminal."""

    def headlines(self) -> Iterator[str]:
        """What stays on a terminal when somebody stops to follow."""

    def whole(self, console: Console) -> RenderableType:
        """All that is told when it has ended."""


class FollowedRun:
    """A search."""

    def __init__(self, path: Path) -> None:
        self._watch = Watch(path, KNOWLEDGE)

    def is_running(self) -> bool:
        return self._watch.view.status == "running"

    def look(self) -> None:
        self._watch.look()

    def progress(self) -> Hashable:
        return progress_of(self._watch.view)

    def line(self) -> str:
        return change_line(self._watch.view)

    def screen(self) -> RenderableType:
        return LiveScreen(view=self._watch.view)

    def headlines(self) -> Iterator[str]:
        return headline(self._watch.view)

    def whole(self, console: Console) -> RenderableType:
        return render(self._watch.view, wide=console.width >= WIDE)


class FollowedComparison:
    """A comparison."""

    def __init__(self, path: Path) -> None:
        self._watch = ComparisonWatch(path)

    def is_running(self) -> bool:
        return is_running(self._watch.view)

    def look(self) -> None:
        self._watch.look()

    def progress(self) -> Hashable:
        return tuple((one.state, len(one.results)) for one in self._watch.view.runs)

    def line(self) -> str:
        trials = sum(len(one.results) for one in self._watch.view.runs)
        return f"{comparison_headline(self._watch.view)}, {trials} trials"

    def screen(self) -> RenderableType:
        return ComparisonScreen(view=self._watch.view)

    def headlines(self) -> Iterator[str]:
        yield comparison_headline(self._watch.view)

    def whole(self, console: Console) -> RenderableType:
        return render_comparison(self._watch.view)


def show_to_the_end(followed: Followed, console: Console, *, follow: bool) -> None:
    """Prints where something is; where it goes on and is to be followed, until it ends."""
    if follow and followed.is_running():
        with stop_signals() as stopping, _quiet():
            _follow(followed, console, stopping)
        if stopping():
            for line in followed.headlines():
                console.print(Text(line))
            return
    console.print(followed.whole(console))


def _follow(followed: Followed, console: Console, stopping: StopRequest) -> None:
    """Shows what is done, until it ends or somebody asks to stop."""
    if not _has_screen(console):
        _look_until_the_end(followed, stopping, _Lines(console))
        return
    suspension = _Suspension()
    with suspension.noting():
        while True:
            with Live(followed.screen(), console=console, screen=True, auto_refresh=False) as live:
                _look_until_the_end(
                    followed,
                    lambda: stopping() or suspension.asked,
                    lambda one: live.update(one.screen(), refresh=True),
                )
            if not suspension.asked:
                return
            suspension.obey()


class _Suspension:
    """Ctrl-Z: noted when it comes, obeyed when the terminal is again as it was before."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def noting(self) -> Iterator[None]:
        before = signal.signal(signal.SIGTSTP, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGTSTP, before)

    def obey(self) -> None:
        """Stops this process until somebody has it go on."""
        noting = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, noting)
        self.asked = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def _look_until_the_end(
    followed: Followed, stopping: Callable[[], bool], tell: Callable[[Followed], None]
) -> None:
    tell(followed)
    while followed.is_running() and not stopping():
        look_at_s = time.monotonic() + LOOK_EVERY_S
        while time.monotonic() < look_at_s and not stopping():
            time.sleep(NOTICE_S)
        followed.look()
        if followed.is_running():
            tell(followed)


class _Lines:
    """Prints a line wherever something has changed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: Hashable = None

    def __call__(self, followed: Followed) -> None:
        if followed.progress() != self._said:
            self._said = followed.progress()
            self._console.print(Text(followed.line()))
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

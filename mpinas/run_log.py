"""The log of a run: a file in its directory, one line per event, and which run a line is of.

Searches that share a farm share the package's loggers. What is logged while one of them acts is
its own and stands in its file; the rest (the farm, the start) stands in all of them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

_ACTING: ContextVar[str] = ContextVar("acting", default="")


@contextmanager
def acting(name: str) -> Iterator[None]:
    """What is logged meanwhile is of the run of that name; empty for a run that is alone."""
    token = _ACTING.set(name)
    try:
        yield
    finally:
        _ACTING.reset(token)


class OfRun(logging.Filter):
    """Lets the lines of one run through and those of no run; of every run where none is named.

    Gives each record ``run``, the name and a blank, for a formatter to put in front.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self._name = name

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is one of these."""
        name = _ACTING.get()
        record.run = f"{name} " if name else ""
        return not self._name or name in ("", self._name)


class _RunLog(logging.FileHandler):
    """The log of a run; that its disk is full is told elsewhere and must not end anything."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Drops the line."""

    def close(self) -> None:
        """Closes the file, whatever of it could not be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def logging_to(path: Path, name: str = "") -> Iterator[None]:
    """Adds a run's log file, UTC times, for all of the package.

    Args:
        name: of the run among those that share the farm; empty for one that is alone.
    """
    handler = _RunLog(path)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    handler.addFilter(OfRun(name))
    package = logging.getLogger("mpinas")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()

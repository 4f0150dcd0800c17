"""A run or a comparison that is looked at again and again, while it lives and until it ends.

A look reads only what has changed since the last one, and gets over files that are not there or
not readable for a moment: jobs replace them, and file systems of clusters have moods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from mpinas.comparison import ComparisonDirectory
from mpinas.config_file import Knowledge
from mpinas.errors import RunDirectoryFault, UserMustChange, fault
from mpinas.report.comparison_view import ComparisonReader, ComparisonView
from mpinas.report.kept import Kept
from mpinas.report.run_view import RunView, load_run
from mpinas.run_directory import RunDirectory

PATIENCE_LOOKS = 5
"""So many looks in a row may fail."""

View = TypeVar("View")


class Watch:
    """Looks at a run.

    Attributes:
        view: what the last look saw.

    Raises:
        RunDirectoryFault: it is no run directory.
    """

    def __init__(self, path: Path, knowledge: Knowledge) -> None:
        self._path = path
        self._knowledge = knowledge
        self._kept = Kept()
        self._patience = _Patience(path, RunDirectory(path).exists, of="run")
        self.view = self._read()

    def look(self) -> RunView:
        """The run as it is now; for a moment in which it cannot be read, as it was before.

        Raises:
            RunDirectoryFault: it was removed, or cannot be read any more.
        """
        view = self._patience.bear(self._read)
        if view is not None:
            self.view = _with_status_of(view, self.view)
        return self.view

    def _read(self) -> RunView:
        return load_run(self._path, self._knowledge, self._kept.results_of)


class ComparisonWatch:
    """Looks at a comparison, as :class:`Watch` does at a run."""

    def __init__(self, path: Path) -> None:
        self._reader = ComparisonReader(path)
        self._patience = _Patience(path, ComparisonDirectory(path).exists, of="comparison")
        self.view = self._reader.read()

    def look(self) -> ComparisonView:
        """The comparison as it is now, or for a moment as it was before.

        Raises:
            RunDirectoryFault: it was removed, or cannot be read any more.
        """
        self.view = self._patience.bear(self._reader.read) or self.view
        return self.view


class _Patience:
    """Gets over looks that fail, if not too many do in a row."""

    def __init__(self, path: Path, exists: Callable[[], bool], *, of: str) -> None:
        self._path = path
        self._exists = exists
        self._of = of
        self._failed = 0

    def bear(self, read: Callable[[], View]) -> View | None:
        """What is read, or None where it cannot be for the moment."""
        try:
            view = read()
        except (OSError, UserMustChange) as error:
            self._failed += 1
            if self._failed > PATIENCE_LOOKS:
                raise RunDirectoryFault(self._lost(error)) from error
            return None
        self._failed = 0
        return view

    def _lost(self, error: OSError | UserMustChange) -> str:
        if not self._exists():
            return fault(str(self._path), f"the {self._of} was removed while it was followed")
        return fault(str(self._path), f"the {self._of} cannot be read any more", cure=str(error))


def _with_status_of(view: RunView, before: RunView) -> RunView:
    """The view with what the status file told before, where it tells nothing now."""
    if view.workers or view.status != "running":
        return view
    return replace(
        view,
        workers=before.workers,
        wall_time_s=before.wall_time_s,
        utilisation=before.utilisation,
        running=before.running,
        lost=before.lost,
    )

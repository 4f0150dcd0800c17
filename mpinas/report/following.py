"""A run that is looked at again and again, while it lives and until it ends.

A look reads only what has changed since the last one, and gets over files that are not there or
not readable for a moment: jobs replace them, and file systems of clusters have moods.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mpinas.config_file import Knowledge
from mpinas.errors import RunDirectoryFault, UserMustChange, fault
from mpinas.journal import read_results
from mpinas.records import TrialResult
from mpinas.report.run_view import RunView, load_run
from mpinas.run_directory import RunDirectory

PATIENCE_LOOKS = 5
"""So many looks in a row may fail."""

Stamp = tuple[int, int, int]


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
        self._journals = _Journals()
        self._failed = 0
        self.view = load_run(path, knowledge, self._journals.results_of)

    def look(self) -> RunView:
        """The run as it is now; for a moment in which it cannot be read, as it was before.

        Raises:
            RunDirectoryFault: it was removed, or cannot be read any more.
        """
        try:
            view = load_run(self._path, self._knowledge, self._journals.results_of)
        except (OSError, UserMustChange) as error:
            self._failed += 1
            if self._failed > PATIENCE_LOOKS:
                raise RunDirectoryFault(self._lost(error)) from error
        else:
            self._failed = 0
            self.view = _with_status_of(view, self.view)
        return self.view

    def _lost(self, error: OSError | UserMustChange) -> str:
        if not RunDirectory(self._path).exists():
            return fault(str(self._path), "the run was removed while it was followed")
        return fault(str(self._path), "the run cannot be read any more", cure=str(error))


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


class _Journals:
    """The results of a run; a journal is read again where it has changed."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[Stamp, list[TrialResult]]] = {}

    def results_of(self, directory: RunDirectory) -> Iterator[TrialResult]:
        for file in directory.journals():
            about = file.stat()
            stamp = about.st_ino, about.st_size, about.st_mtime_ns
            if file not in self._read or self._read[file][0] != stamp:
                self._read[file] = stamp, read_results(file)
            yield from self._read[file][1]

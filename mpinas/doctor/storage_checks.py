"""The file system of the run directory, from what the child told that wrote there. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mpinas.doctor.children import Told
from mpinas.doctor.findings import Finding, doubtful, fine, wrong

PROGRAM = "mpinas.doctor.storage_probe"
FOLDER_PREFIX = ".mpinas-doctor-"
LEAST_FREE_MB, AMPLE_FREE_MB = 50.0, 1000.0
LEAST_FREE_FILES = 100
SLOW_WRITE_S = 5.0
CHECK = "run directory"
OTHER_PLACE = "choose another place with --out DIR"


def kind_of(path: Path, mounts: str) -> str:
    """The type of the file system that a path is on, of the text of ``/proc/mounts``."""
    rows = (line.split() for line in mounts.splitlines())
    kinds = {row[1]: row[2] for row in rows if len(row) > 2}
    places = (str(place) for place in (path, *path.parents))
    return next((kinds[place] for place in places if place in kinds), "unknown")


def storage_findings(path: str, told: Told) -> Iterator[Finding]:
    """On room, writing and locking.

    Args:
        path: of the run directory, as it was asked for.
        told: by ``storage_probe``.
    """
    refused, folder = told.find("refused"), told.find("folder")
    if refused is not None:
        cure = f"Make it writable, or {OTHER_PLACE}"
        yield wrong(CHECK, f"nothing can be made in {refused['path']}", _error(refused), cure=cure)
        return
    if folder is None:
        yield _no_answer(path, told)
        return
    yield _room(folder)
    yield from _writing(folder, told)


def _writing(folder: Mapping[str, Any], told: Told) -> Iterator[Finding]:
    path = folder["path"]
    written, unlocked, locked = (told.find(stage) for stage in ("write", "unlocked", "locked"))
    broken = next((one for one in (written, unlocked) if one is not None and one["error"]), None)
    if broken is not None:
        cure = f"See quota and rights of the folder, or {OTHER_PLACE}"
        yield wrong(CHECK, f"files cannot be written in {path}", _error(broken), cure=cure)
        return
    if written is None or unlocked is None:
        yield _no_answer(path, told)
        return
    if written["seconds"] > SLOW_WRITE_S:
        cure = f"Every finished trial waits for this: {OTHER_PLACE}"
        found = f"seconds={written['seconds']:.1f} for 1 MB"
        yield doubtful(CHECK, f"writing in {path} is slow", found, cure=cure)
    if locked is None or locked["error"]:
        yield doubtful(
            "HDF5",
            f"files cannot be locked in {path}, which mpinas does not need",
            f"{_error(locked) if locked else told.ending}, file system={folder['kind']}",
            cure="Set HDF5_USE_FILE_LOCKING=FALSE for other programs that open HDF5 files there",
        )
    else:
        yield fine("HDF5", f"HDF5: files can be written, renamed and locked in {path}")


def _error(line: Mapping[str, Any]) -> str:
    return f"error={line['error']}"


def _room(folder: Mapping[str, Any]) -> Finding:
    path, free_mb, free_files = folder["path"], folder["free_mb"], folder["free_files"]
    if free_files is not None and free_files < LEAST_FREE_FILES:
        cure = f"Remove files, or {OTHER_PLACE}"
        return wrong(CHECK, f"no more files fit into {path}", f"free={free_files} files", cure=cure)
    if free_mb < AMPLE_FREE_MB:
        make = wrong if free_mb < LEAST_FREE_MB else doubtful
        cure = f"Make room ('run CONFIG --dry-run' tells how much), or {OTHER_PLACE}"
        return make(CHECK, f"there is little room in {path}", f"free={free_mb:,.0f} MB", cure=cure)
    return fine(CHECK, f"{CHECK}: {free_mb / 1000:,.1f} GB free in {path} ({folder['kind']})")


def _no_answer(path: str, told: Told) -> Finding:
    said = f", last words={told.last_words!r}" if told.last_words else ""
    return wrong(
        CHECK,
        f"the process that was to write in {path} did not come to its end",
        f"{told.ending or 'it ended'}{said}",
        cure=f"See whether the file system answers (df, ls), or {OTHER_PLACE}",
    )


def sight_findings(sights: Mapping[str, bool | None]) -> Iterator[Finding]:
    """On nodes that do not see the run directory.

    Args:
        sights: host -> whether a worker on it saw what rank 0 made; None where it was not asked.
    """
    blind = [host for host, sees in sights.items() if sees is False]
    if blind:
        yield wrong(
            CHECK,
            "some nodes do not see what is written there, so their trials cannot save weights",
            f"hosts={', '.join(blind)}",
            cure="Choose a place on a file system that all nodes share: --out DIR",
        )

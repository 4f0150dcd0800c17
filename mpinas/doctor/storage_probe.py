"""In a child: writes, renames and locks files where runs are to be.

On a sick file system that never ends, so it tells a line a stage (``doctor.children``). It leaves
its folder to the doctor, so that other nodes can look whether they see it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py

from mpinas.doctor.children import one_line, tell
from mpinas.doctor.storage_checks import FOLDER_PREFIX, kind_of
from mpinas.files import fsync_directory

BLOCK = bytes(1_000_000)


def main(path: str) -> None:
    """The child's work.

    Args:
        path: of a run directory, which need not be there.
    """
    place = nearest(Path(path))
    try:
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place))
    except OSError as error:
        tell("refused", path=str(place), error=one_line(error))
        return
    room = os.statvfs(folder)
    tell(
        "folder",
        path=str(place),
        folder=str(folder),
        kind=kind_of(place.resolve(), Path("/proc/self/mounts").read_text(errors="replace")),
        free_mb=room.f_bavail * room.f_frsize / 1e6,
        free_files=room.f_favail if room.f_files else None,
    )
    _try("write", lambda: _write_and_rename(folder))
    _try("unlocked", lambda: _write_hdf5(folder / "unlocked.h5", locking=False))
    _try("locked", lambda: _write_hdf5(folder / "locked.h5", locking=True))


def nearest(path: Path) -> Path:
    """The place itself if it is there, else the nearest above it that is."""
    absolute = path.absolute()
    return next(one for one in (absolute, *absolute.parents) if one.exists())


def _try(stage: str, work: Callable[[], None]) -> None:
    begun_at, error = time.perf_counter(), ""
    try:
        work()
    except (OSError, RuntimeError) as caught:
        error = one_line(caught)
    tell(stage, seconds=time.perf_counter() - begun_at, error=error)


def _write_and_rename(folder: Path) -> None:
    """As a checkpoint is written."""
    temporary, file = folder / ".block.new", folder / "block"
    with temporary.open("wb") as out:
        out.write(BLOCK)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, file)
    fsync_directory(folder)
    if file.read_bytes() != BLOCK:
        raise OSError("what was read back is not what was written")


def _write_hdf5(file: Path, *, locking: bool) -> None:
    with h5py.File(file, "w", locking=locking) as out:
        out["numbers"] = range(10)
    with h5py.File(file, "r", locking=locking) as source:
        if list(source["numbers"]) != list(range(10)):
            raise OSError("what was read back is not what was written")

"""The run directory: where everything of a run stands, and whose it is.

Only the searching process writes here. Readers (``show``, ``report``) take what they find: a
status file is replaced whole, a journal only grows.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mpinas.errors import RunDirectoryFault, fault
from mpinas.journal import fsync_directory
from mpinas.records import from_json, to_json

STALE_AFTER_HEARTBEATS = 6


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """Paths of a run, see the design: ``runs/<name>/``."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def problem(self) -> Path:
        return self.path / "problem.h5"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.path / "weights"

    @property
    def status(self) -> Path:
        return self.path / "status.json"

    @property
    def owner(self) -> Path:
        return self.path / "owner.json"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def start(self) -> Path:
        return self.checkpoints / "start.h5"

    def checkpoint(self, generation: int) -> Path:
        return self.checkpoints / f"g{generation:03d}.h5"

    def journal(self, generation: int) -> Path:
        return self.path / "journal" / f"g{generation:03d}.jsonl"

    def journals(self) -> list[Path]:
        """All journals, in the order of their generations."""
        found = (self.path / "journal").glob("g*.jsonl")
        return sorted(found, key=lambda path: int(path.stem[1:]))

    def exists(self) -> bool:
        return self.config.exists()


def create_run_directory(path: Path, fill: Callable[[RunDirectory], None]) -> RunDirectory:
    """Makes a run directory that appears whole or not at all.

    Args:
        fill: writes the first files into the directory it is given; where it raises, nothing
            stays behind.

    Raises:
        RunDirectoryFault: the place is taken by something that is no run.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunDirectoryFault(
            fault(str(path), "exists and is not a run", cure="Give another directory with --out")
        )
    building = path.parent / f".{path.name}.{os.getpid()}.new"
    try:
        for folder in (building / "journal", building / "checkpoints"):
            folder.mkdir(parents=True)
        fill(RunDirectory(building))
        building.rename(path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    fsync_directory(path.parent)
    return RunDirectory(path)


def write_whole(path: Path, text: str | bytes) -> None:
    """Replaces a small file, so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(text.encode() if isinstance(text, str) else text)
    temporary.replace(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningTrial:
    """A trial on a worker. ``epoch`` is the last finished one."""

    trial_id: str
    host: str
    rank: int
    epoch: int = 0
    epochs: int = 0
    accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What ``show`` follows.

    Attributes:
        status: ``running``, ``stopped`` (submit it again to go on) or ``done``.
        generation: the one being worked on, counted from 0.
        wall_time_s: summed over all jobs of the run.
        worker_time_s: workers x wall time between first dispatch and last result, likewise.
        busy_time_s: of these, the seconds in which a trial was running.
        updated_at: seconds since the epoch.
    """

    status: str
    generation: int
    generations: int
    workers: int = 0
    wall_time_s: float = 0.0
    worker_time_s: float = 0.0
    busy_time_s: float = 0.0
    updated_at: float = 0.0
    running: tuple[RunningTrial, ...] = field(default=())


def load_status(directory: RunDirectory) -> Status | None:
    """The last status written, or None where there is none that can be read."""
    try:
        return from_json(Status, directory.status.read_bytes())
    except (OSError, ValueError):
        return None


def save_status(directory: RunDirectory, status: Status) -> None:
    write_whole(directory.status, to_json(status))


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The job that a run directory belongs to while it lives."""

    host: str
    pid: int
    process_start: int
    job_id: str
    heartbeat_s: float


def claim(directory: RunDirectory, heartbeat_s: float) -> Owner:
    """Takes the directory for this process.

    Raises:
        RunDirectoryFault: another process that still lives has it.
    """
    current = _load_owner(directory)
    if current is not None and owner_is_alive(directory, current):
        raise RunDirectoryFault(
            fault(
                str(directory.path),
                "another job is working in this run directory",
                f"host={current.host}, pid={current.pid}, job={current.job_id or 'none'}",
                cure="Wait for it, stop it, or give another directory with --out",
            )
        )
    mine = Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=_process_start(os.getpid()) or 0,
        job_id=os.environ.get("SLURM_JOB_ID") or os.environ.get("LSB_JOBID") or "",
        heartbeat_s=heartbeat_s,
    )
    directory.owner.unlink(missing_ok=True)
    try:
        with directory.owner.open("xb") as file:
            file.write(to_json(mine))
    except FileExistsError as error:
        raise RunDirectoryFault(
            fault(str(directory.path), "another job took this run directory just now")
        ) from error
    return mine


def release(directory: RunDirectory, owner: Owner) -> None:
    """Gives the directory back, if it is still ours."""
    if _load_owner(directory) == owner:
        directory.owner.unlink(missing_ok=True)


def beat(directory: RunDirectory, owner: Owner) -> None:
    """Gives a sign of life.

    Raises:
        RunDirectoryFault: another job has taken the directory; this one must stop writing.
    """
    if _load_owner(directory) != owner:
        raise RunDirectoryFault(
            fault(str(directory.path), "another job has taken this run directory over")
        )
    os.utime(directory.owner)


def is_alive(directory: RunDirectory) -> bool:
    """Whether a job is working in the directory."""
    owner = _load_owner(directory)
    return owner is not None and owner_is_alive(directory, owner)


def owner_is_alive(directory: RunDirectory, owner: Owner) -> bool:
    """On the same host the process tells, elsewhere the age of its last heartbeat."""
    if owner.host == socket.gethostname():
        return _process_start(owner.pid) == owner.process_start
    try:
        age_s = time.time() - directory.owner.stat().st_mtime
    except FileNotFoundError:
        return False
    return age_s < STALE_AFTER_HEARTBEATS * owner.heartbeat_s


def _load_owner(directory: RunDirectory) -> Owner | None:
    try:
        return from_json(Owner, directory.owner.read_bytes())
    except (OSError, ValueError):
        return None


def _process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])

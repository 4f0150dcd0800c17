"""Whose a run directory is: one living job writes in it, and a dead one is taken over from.

On the same host the process tells whether the owner lives; on another, the age of its heartbeat.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

from mpinas.errors import RunDirectoryFault, fault
from mpinas.records import from_json, to_json
from mpinas.run_directory import RunDirectory
from mpinas.trial.processes import process_start

STALE_AFTER_HEARTBEATS = 6


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
    mine = Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()) or 0,
        job_id=os.environ.get("SLURM_JOB_ID") or os.environ.get("LSB_JOBID") or "",
        heartbeat_s=heartbeat_s,
    )
    with _alone_on_this_host(directory):
        refuse_if_owned(directory)
        directory.owner.unlink(missing_ok=True)
        if not _put(directory, mine):
            raise RunDirectoryFault(_taken(directory, _load_owner(directory)))
    return mine


def refuse_if_owned(directory: RunDirectory) -> None:
    """Raises RunDirectoryFault where a job is working in the directory; names it."""
    owner = _load_owner(directory)
    if owner is not None and owner_is_alive(directory, owner):
        raise RunDirectoryFault(_taken(directory, owner))


@contextlib.contextmanager
def _alone_on_this_host(directory: RunDirectory) -> Iterator[None]:
    """Keeps other processes of this host from judging an owner at the same time.

    A file system without such locks goes on without: :func:`_put` is exclusive everywhere.
    """
    descriptor = os.open(directory.path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _put(directory: RunDirectory, owner: Owner) -> bool:
    """Makes the owner file, whole; False where there is one already."""
    temporary = directory.owner.with_name(f".owner.{owner.host}.{owner.pid}.new")
    temporary.write_bytes(to_json(owner))
    try:
        os.link(temporary, directory.owner)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _taken(directory: RunDirectory, owner: Owner | None) -> str:
    who = f"host={owner.host}, pid={owner.pid}, job={owner.job_id or 'none'}" if owner else ""
    return fault(
        str(directory.path),
        "another job is working in this run directory",
        who,
        cure="Wait for it, stop it, or give another directory with --out",
    )


def release(directory: RunDirectory, owner: Owner) -> None:
    """Gives the directory back, if it is still ours."""
    if _load_owner(directory) == owner:
        directory.owner.unlink(missing_ok=True)


def beat(directory: RunDirectory, owner: Owner) -> None:
    """Gives a sign of life.

    Raises:
        RunDirectoryFault: another job has taken the directory; this one must stop writing.
    """
    current = _load_owner(directory)
    if current is None:
        directory.owner.unlink(missing_ok=True)
        _put(directory, owner)
    elif current != owner:
        raise RunDirectoryFault(_taken(directory, current))
    else:
        os.utime(directory.owner)


def is_alive(directory: RunDirectory) -> bool:
    """Whether a job is working in the directory."""
    owner = _load_owner(directory)
    return owner is not None and owner_is_alive(directory, owner)


def owner_is_alive(directory: RunDirectory, owner: Owner) -> bool:
    """On the same host the process tells, elsewhere the age of its last heartbeat."""
    if owner.host == socket.gethostname():
        return process_start(owner.pid) == owner.process_start
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

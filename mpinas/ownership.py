"""Whose a run directory is: one living job writes in it, and a dead one is taken over from.

Where the owner's process can be seen it tells whether the owner lives. Elsewhere its heartbeat
does: an old one, by the clock of the file system, is that of a dead job; on a young one a new job
waits (:func:`watch_owner`) until it is renewed or is old. No lock has to work across hosts, and no
two clocks have to agree.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mpinas.errors import RunDirectoryFault, fault
from mpinas.records import from_json, to_json
from mpinas.run_directory import RunDirectory
from mpinas.trial.processes import process_start

STALE_AFTER_HEARTBEATS = 6
LOCK_LIMIT_S = 5.0
LOCK_POLL_S = 0.05
BOOT = Path("/proc/sys/kernel/random/boot_id")
LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The job that a run directory belongs to while it lives.

    Attributes:
        process_space: in which the number of the process means something; two containers on one
            host do not see each other's.
        restarts: how often the scheduler had started the job anew; with ``job_id`` it tells the
            lives of a requeued job apart.
    """

    host: str
    pid: int
    process_start: int
    job_id: str
    heartbeat_s: float
    process_space: str = ""
    restarts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An owner file as it was read, and when it was last renewed (its time of change, in ns)."""

    owner: Owner
    renewed_ns: int


def claim(
    directory: RunDirectory,
    heartbeat_s: float,
    *,
    dead: Claim | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Owner:
    """Takes the directory for this process.

    Args:
        dead: the claim that :func:`watch_owner` found to be that of a dead job.

    Raises:
        RunDirectoryFault: another process that still lives has it.
    """
    mine = _this_process(heartbeat_s, environment)
    with _alone_on_this_host(directory):
        found = _load_claim(directory)
        if found is not None and found != dead and _lives(directory, found, mine):
            raise RunDirectoryFault(_taken(directory, found))
        _clear_away(directory, found, mine)
        if not _put(directory, mine):
            raise RunDirectoryFault(_taken(directory, _load_claim(directory)))
    return mine


def watch_owner(
    directory: RunDirectory,
    stopping: Callable[[], bool],
    environment: Mapping[str, str] = os.environ,
) -> Claim | None:
    """Waits until it is clear that no job has the directory, or until this one is to stop.

    A job that cannot be seen from here and gave a sign of life not long ago may have died since:
    its next sign is waited for, as long as one may take.

    Returns:
        The claim of a dead job, None where there is none.

    Raises:
        RunDirectoryFault: a job works in the directory.
    """
    found = _load_claim(directory)
    mine = _this_process(0.0, environment)
    if found is None or not _lives(directory, found, mine):
        return found
    patience_s = STALE_AFTER_HEARTBEATS * found.owner.heartbeat_s
    give_up_s = time.monotonic() + patience_s
    while not _can_be_seen(found.owner) and time.monotonic() < give_up_s and not stopping():
        time.sleep(min(LOOK_EVERY_S, found.owner.heartbeat_s))
        now = _load_claim(directory)
        if now is None:
            return None
        if now != found:
            raise RunDirectoryFault(_taken(directory, now))
    if _can_be_seen(found.owner):
        raise RunDirectoryFault(_taken(directory, found))
    return found


def refuse_if_owned(directory: RunDirectory) -> None:
    """Raises RunDirectoryFault where a job is working in the directory; names it."""
    found = _load_claim(directory)
    if found is not None and _lives(directory, found, None):
        raise RunDirectoryFault(_taken(directory, found))


def is_alive(directory: RunDirectory) -> bool:
    """Whether a job is working in the directory."""
    found = _load_claim(directory)
    return found is not None and _lives(directory, found, None)


def release(directory: RunDirectory, owner: Owner) -> None:
    """Gives the directory back, if it is still ours."""
    found = _load_claim(directory)
    if found is not None and found.owner == owner:
        directory.owner.unlink(missing_ok=True)


def beat(directory: RunDirectory, owner: Owner) -> None:
    """Gives a sign of life.

    Raises:
        RunDirectoryFault: another job has taken the directory; this one must stop writing.
    """
    found = _load_claim(directory)
    if found is None:
        directory.owner.unlink(missing_ok=True)
        _put(directory, owner)
    elif found.owner != owner:
        raise RunDirectoryFault(_taken(directory, found))
    else:
        os.utime(directory.owner)


class Heart:
    """Gives signs of life as often as the owner's file says they come."""

    def __init__(self, directory: RunDirectory, owner: Owner) -> None:
        self._directory = directory
        self._owner = owner
        self._beaten_s = time.monotonic()

    def beat_if_due(self) -> None:
        """Raises RunDirectoryFault where another job has taken the directory."""
        time_s = time.monotonic()
        if time_s - self._beaten_s >= self._owner.heartbeat_s:
            beat(self._directory, self._owner)
            self._beaten_s = time_s


def _this_process(heartbeat_s: float, environment: Mapping[str, str]) -> Owner:
    slurm_job = environment.get("SLURM_JOB_ID", "")
    return Owner(
        host=socket.gethostname(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()) or 0,
        job_id=slurm_job or environment.get("LSB_JOBID", ""),
        heartbeat_s=heartbeat_s,
        process_space=_process_space(),
        restarts=environment.get("SLURM_RESTART_COUNT", "0") if slurm_job else "",
    )


def _process_space() -> str:
    """Equal where processes see each other. The name of a namespace alone is the same on machines
    that have none but their first, and host names may be, too; each start of a kernel has an id."""
    try:
        return f"{BOOT.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _can_be_seen(owner: Owner) -> bool:
    """Whether this process would see the owner's, if it lived."""
    here = (socket.gethostname(), _process_space())
    return (owner.host, owner.process_space) == here


def _lives(directory: RunDirectory, found: Claim, mine: Owner | None) -> bool:
    """Whether the job lives, as far as can be told without waiting."""
    owner = found.owner
    if _can_be_seen(owner):
        return process_start(owner.pid) == owner.process_start
    if mine is not None and _is_earlier_life(owner, mine):
        return False
    return abs(_age_s(directory, found)) < STALE_AFTER_HEARTBEATS * owner.heartbeat_s


def _is_earlier_life(owner: Owner, mine: Owner) -> bool:
    """Whether the scheduler has started the owner's job anew as this one."""
    same_job = bool(owner.job_id) and owner.job_id == mine.job_id
    return same_job and owner.restarts != mine.restarts


def _age_s(directory: RunDirectory, found: Claim) -> float:
    """Seconds since the last sign of life; negative where a clock was set back since."""
    return _file_system_now_s(directory.path) - found.renewed_ns / 1e9


def _file_system_now_s(folder: Path) -> float:
    """Now, as the file system that stamps heartbeats has it; the own clock if it does not tell."""
    probe = folder / f".clock.{socket.gethostname()}.{os.getpid()}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


@contextlib.contextmanager
def _alone_on_this_host(directory: RunDirectory) -> Iterator[None]:
    """Keeps other processes of this host from judging an owner at the same time.

    A file system without such locks goes on without: :func:`_put` is exclusive everywhere.
    """
    descriptor = os.open(directory.path, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Waits for a moment only: some file systems lock for all nodes, one of which may hang."""
    give_up_s = time.monotonic() + LOCK_LIMIT_S
    while time.monotonic() < give_up_s:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_POLL_S)
        except OSError:
            return
        else:
            return


def _clear_away(directory: RunDirectory, dead: Claim | None, mine: Owner) -> None:
    """Takes the dead owner's file away; another host may have put its own there meanwhile.

    Raises:
        RunDirectoryFault: it has, and keeps the directory.
    """
    away = directory.owner.with_name(f".owner.{mine.host}.{mine.pid}.old")
    try:
        os.rename(directory.owner, away)
    except FileNotFoundError:
        return
    try:
        taken = _read_claim(away)
        if taken is not None and (dead is None or taken.owner != dead.owner):
            with contextlib.suppress(FileExistsError):
                os.link(away, directory.owner)
            raise RunDirectoryFault(_taken(directory, taken))
    finally:
        with contextlib.suppress(OSError):
            away.unlink()


def _put(directory: RunDirectory, owner: Owner) -> bool:
    """Makes the owner file, whole; False where there is one already."""
    temporary = directory.owner.with_name(f".owner.{owner.host}.{owner.pid}.new")
    try:
        temporary.write_bytes(to_json(owner))
        os.link(temporary, directory.owner)
    except FileExistsError:
        return False
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return True


def _taken(directory: RunDirectory, found: Claim | None) -> str:
    return fault(
        str(directory.path),
        "another job is working in this run directory",
        _described(directory, found) if found else "",
        cure="Wait for it, stop it, or give another directory with --out",
    )


def _described(directory: RunDirectory, found: Claim) -> str:
    owner = found.owner
    age_s = max(0.0, _age_s(directory, found))
    return (
        f"host={owner.host}, pid={owner.pid}, job={owner.job_id or 'none'}, "
        f"last heartbeat={age_s:.0f} s ago"
    )


def _load_claim(directory: RunDirectory) -> Claim | None:
    return _read_claim(directory.owner)


def _read_claim(path: Path) -> Claim | None:
    """The file and its time, through one opened file: that makes a client of a network file system
    ask its server, where looking at the name alone may be answered from its cache."""
    try:
        with path.open("rb") as file:
            renewed_ns = os.fstat(file.fileno()).st_mtime_ns
            return Claim(owner=from_json(Owner, file.read()), renewed_ns=renewed_ns)
    except (OSError, ValueError):
        return None

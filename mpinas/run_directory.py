"""The run directory: where everything of a run stands.

Only the searching process writes here (``ownership.py``). Readers (``show``, ``report``) take what
they find: a status file is replaced whole, a journal only grows.
"""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpinas.errors import RunDirectoryFault, fault
from mpinas.files import fsync_directory
from mpinas.records import from_json, to_json
from mpinas.signals import held
from mpinas.trial.processes import is_alive

MOST_NAMED = 8
"""Runs that a message names."""
COMPARISON_CONFIG = "comparison.yaml"
"""In the directory of a comparison, whose searches are run directories in it."""


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
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

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
        return _numbered(self.path / "journal", r"g(\d+)\.jsonl")

    def told(self) -> int:
        """How many generations are told, by the checkpoints that are there."""
        files = self.generation_files()
        return int(files[-1].stem[1:]) + 1 if files else 0

    def generation_files(self) -> list[Path]:
        """All checkpoints of generations, the oldest first."""
        return _numbered(self.checkpoints, r"g(\d+)\.h5")

    def exists(self) -> bool:
        """Whether a run stands here; one that lost its ``config.yaml`` is one."""
        kept = self.config.exists() or self.start.exists()
        return kept or bool(self.generation_files() or self.journals())

    def make_folders(self) -> None:
        """Makes the folders that somebody removed."""
        _make_folders(self.path)


def _numbered(folder: Path, pattern: str) -> list[Path]:
    """The files whose whole name matches, in the order of their numbers."""
    matches = ((re.fullmatch(pattern, path.name), path) for path in folder.glob("*"))
    found = [(int(match[1]), path) for match, path in matches if match]
    return [path for _, path in sorted(found)]


def existing_run(path: Path) -> RunDirectory:
    """The directory of a run that is there.

    Raises:
        RunDirectoryFault: it is none.
    """
    directory = RunDirectory(path)
    if directory.exists():
        return directory
    if (path / COMPARISON_CONFIG).exists():
        begun = [str(one.path) for one in searches_in(path)]
        raise RunDirectoryFault(
            fault(
                str(path),
                "this is a comparison",
                allowed=f"Its runs: {', '.join(begun) or 'none yet'}",
                cure="Give one of its runs",
            )
        )
    below = map(RunDirectory, sorted(path.glob("*")))
    runs = [str(one.path) for one in (*searches_in(path), *below) if _can_be_seen(one)]
    raise RunDirectoryFault(
        fault(
            str(path),
            "not a run directory",
            allowed=f"There are {', '.join(runs[:MOST_NAMED])} in it" if runs else "",
            cure="Give the directory that 'python -m mpinas run' named, e.g. runs/quickstart",
        )
    )


def searches_in(path: Path) -> list[RunDirectory]:
    """The searches that are in the directory of a comparison, whatever its configuration says."""
    found = map(RunDirectory, sorted(path.glob("e[0-9]*/*")))
    return [one for one in found if _can_be_seen(one)]


def _can_be_seen(directory: RunDirectory) -> bool:
    """Whether there is one, as far as it is not somebody's secret."""
    try:
        return directory.exists()
    except OSError:
        return False


def create_run_directory(
    path: Path, fill: Callable[[RunDirectory], None], *, aside: Path | None = None
) -> RunDirectory:
    """Makes a run directory that appears whole or not at all.

    Args:
        fill: writes the first files into the directory it is given.
        aside: where an old run at ``path`` is moved to.

    Raises:
        RunDirectoryFault: as :func:`create_directory`.
    """

    def begun(building: Path) -> None:
        _make_folders(building)
        fill(RunDirectory(building))

    return RunDirectory(create_directory(path, begun, aside=aside, of="run"))


def create_directory(
    path: Path, fill: Callable[[Path], None], *, aside: Path | None, of: str
) -> Path:
    """Makes a directory that appears whole or not at all, and gives its place.

    Args:
        fill: writes the first files into the folder it is given; where it raises, nothing
            stays behind and nothing was moved.
        aside: where an old directory at ``path`` is moved to, just before the new one appears.
        of: what it is the directory of.

    Raises:
        RunDirectoryFault: the place is taken or cannot be written to.
    """
    if aside is None:
        refuse_if_taken(path, of)
    path = path.resolve()
    in_place = aside is None and path.exists()
    building = _building_place(path if in_place else path.parent, path.name)
    try:
        building.mkdir(parents=True)
        fill(building)
        with held():  # half of this would be neither the old run nor the new one
            if aside is not None:
                path.rename(aside)
            _move_up(building, path) if in_place else building.rename(path)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise RunDirectoryFault(_cannot_be_made(path, of, error)) from error
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    fsync_directory(path.parent)
    return path


def refuse_if_taken(path: Path, of: str) -> None:
    """Raises RunDirectoryFault where something else stands than a new directory could take in."""
    if _is_taken(path.resolve()):
        kinds = {"comparison": COMPARISON_CONFIG, "run": RunDirectory(path).config.name}
        there = [kind for kind, file in kinds.items() if kind != of and (path / file).exists()]
        rule = f"exists and is not a {of}" + (f" but a {there[0]}" if there else "")
        raise RunDirectoryFault(fault(str(path), rule, cure="Give another directory with --out"))


def _is_taken(path: Path) -> bool:
    """Whether anything stands there but an empty folder, or one that others were building in."""
    if not path.is_dir():
        return path.exists()
    building = re.compile(rf"\.{re.escape(path.name)}\..*\.new")
    return not all(building.fullmatch(one.name) for one in path.iterdir())


def _building_place(folder: Path, name: str) -> Path:
    """A name no other process uses; what dead processes of this host left there is removed."""
    prefix = f".{name}.{socket.gethostname()}."
    for left in folder.glob(f"{glob.escape(prefix)}*.new"):
        pid = left.name[len(prefix) : -len(".new")]
        is_old = pid.isdecimal() and (int(pid) == os.getpid() or not is_alive(int(pid)))
        if is_old:
            shutil.rmtree(left, ignore_errors=True)
    return folder / f"{prefix}{os.getpid()}.new"


def _make_folders(path: Path) -> None:
    for folder in (path / "journal", path / "checkpoints"):
        folder.mkdir(parents=True, exist_ok=True)


def _move_up(building: Path, path: Path) -> None:
    """Into a directory that is there already; the configuration, which makes it one, last."""
    if _is_taken(path):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    for file in sorted(building.iterdir(), key=lambda file: file.suffix == ".yaml"):
        file.rename(path / file.name)
    building.rmdir()


def _cannot_be_made(path: Path, of: str, error: OSError) -> str:
    if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
        cure = "The same command goes on with it when that job has ended"
        return fault(str(path), f"another job has just made this {of} directory", cure=cure)
    return fault(
        str(path),
        f"the {of} directory cannot be made: {error.strerror}",
        cure="Give another directory with --out",
    )


def write_whole(path: Path, text: str | bytes, *, durable: bool = False) -> None:
    """Replaces a small file, so that no reader ever sees half of it.

    Args:
        durable: nor is half of it, or nothing, left by a node that dies.
    """
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
        file.flush()
        if durable:
            os.fsync(file.fileno())
    temporary.replace(path)
    if durable:
        fsync_directory(path.parent)


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
class LostWorker:
    """A worker that is gone or was set aside.

    Attributes:
        lost_at: seconds since the epoch.
    """

    host: str
    rank: int
    device: str
    reason: str
    lost_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What ``show`` follows and no other file tells.

    Attributes:
        workers: that can run a trial.
        wall_time_s: summed over all jobs of the run.
        worker_time_s: workers x wall time between first dispatch and last result, likewise; of a
            lost one until it was lost.
        busy_time_s: of these, the seconds in which a trial was running.
        search_s: processor seconds of the search itself, by generation: proposing, telling, saving.
        updated_at: seconds since the epoch.
        lost: workers that this job has had and cannot use any more.
    """

    workers: int = 0
    wall_time_s: float = 0.0
    worker_time_s: float = 0.0
    busy_time_s: float = 0.0
    search_s: Mapping[int, float] = field(default_factory=dict)
    updated_at: float = 0.0
    running: tuple[RunningTrial, ...] = field(default=())
    lost: tuple[LostWorker, ...] = field(default=())


def load_status(directory: RunDirectory) -> Status | None:
    """The last status written, or None where there is none that can be read."""
    try:
        return from_json(Status, directory.status.read_bytes())
    except (OSError, ValueError):
        return None


def save_status(directory: RunDirectory, status: Status) -> None:
    write_whole(directory.status, to_json(status))

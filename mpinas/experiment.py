"""The paired experiment: the searches of a comparison side by side on one farm (the paper, 6.1).

A search is the same whether it is alone or has neighbours; only when its trials run follows from
them. Each is a run directory of its own, and goes on where it was.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from mpinas.checkpoint import DamagedCheckpoint, load_checkpoint
from mpinas.comparison import ComparedRun, Comparison, ComparisonDirectory, existing_comparison
from mpinas.config import RunConfig
from mpinas.config_file import dump_config
from mpinas.errors import RunDirectoryFault, fault
from mpinas.opening import aside_of, can_be_mapped, check_directory, shared_file
from mpinas.ownership import refuse_if_owned
from mpinas.problems import prepare
from mpinas.pump import Lane
from mpinas.run_directory import RunDirectory, write_whole
from mpinas.session import Job, Place, drive, open_lane, telling_of_the_disk

logger = logging.getLogger(__name__)


def run_comparison(comparison: Comparison, job: Job, *, fresh: bool = False) -> bool:
    """Starts a comparison or goes on with it, until it is done or has to stop.

    Args:
        fresh: set an old one in the directory aside.

    Returns:
        True when every search is done, False when it was stopped and can go on later.

    Raises:
        UserMustChange: nothing was started, nothing written.
        NoWorkerLeft: nobody is left to run a trial.
        DiskFault: the disk takes nothing more.
        StoppedEarly: while data were prepared or read.
    """
    directory = comparison.directory
    with telling_of_the_disk(directory.path), ExitStack() as opened:
        check_comparison(comparison, fresh=fresh)
        with job.stopping.at_once(job.clock.left_s()):
            data = _begin(comparison, fresh=fresh)
        lanes: list[Lane] = []
        for run in comparison.runs:
            if is_done(run):
                continue
            lane = opened.enter_context(_open(run, data, job))
            if lane is None:
                return False
            lanes.append(lane)
        _save_config(comparison)  # of this job, now that no other can be at work here
        for line in unequal_starts(comparison):
            logger.warning("%s", line)
        return not lanes or drive(lanes, job, comparison.config.run.grace_s)


def is_done(run: ComparedRun) -> bool:
    """Whether all generations of a search are told."""
    return RunDirectory(run.path).told() >= run.config.tuner.generations


def check_comparison(comparison: Comparison, *, fresh: bool) -> None:
    """Refuses a directory in which this comparison cannot be made; writes nothing.

    Raises:
        RunDirectoryFault: something else stands there, or a comparison with more in it, or of
            other searches, or one that another job works on.
        ConfigurationFaults: what stands there cannot be read.
    """
    directory = comparison.directory
    if not directory.exists():
        _refuse_other_things(directory)
    elif fresh:
        for run in existing_comparison(directory.path).runs:
            refuse_if_owned(RunDirectory(run.path))
    else:
        _refuse_to_leave_out(comparison, existing_comparison(directory.path))
    if not fresh:
        for run in comparison.runs:
            check_directory(run.config, run.path, fresh=False)


def _refuse_other_things(directory: ComparisonDirectory) -> None:
    path = directory.path
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        cure = "Give another directory with --out"
        raise RunDirectoryFault(fault(str(path), "exists and is not a comparison", cure=cure))


def _refuse_to_leave_out(comparison: Comparison, stored: Comparison) -> None:
    """A comparison can get more arms and experiments; results that are there are not hidden."""
    gone = [arm for arm in stored.arms if arm not in comparison.arms]
    received = [f"arms={list(comparison.arms)}"] if gone else []
    if stored.experiments > comparison.experiments:
        received.append(f"experiments={comparison.experiments}")
    if received:
        raise RunDirectoryFault(
            fault(
                str(stored.directory.path),
                f"has {stored.experiments} experiments of the arms {', '.join(stored.arms)}",
                ", ".join(received),
                cure="A comparison can be made larger, not smaller: give another --out, or "
                "--fresh to begin anew",
            )
        )


def _begin(comparison: Comparison, *, fresh: bool) -> Path:
    """Makes the directory what this job needs, and gives the file of the prepared data."""
    directory = comparison.directory
    if fresh and directory.exists():
        aside = aside_of(directory.path)
        directory.path.rename(aside)
        logger.warning("the old comparison is kept as %s", aside)
    config = comparison.config
    directory.path.mkdir(parents=True, exist_ok=True)
    data = shared_file(config) or directory.problem
    if data == directory.problem and not can_be_mapped(data):
        with tempfile.TemporaryDirectory(dir=directory.path) as folder:
            prepared = Path(folder) / data.name
            prepare(config.problem, prepared)
            prepared.replace(data)
    if not directory.exists():
        _save_config(comparison)
    return data


def _save_config(comparison: Comparison) -> None:
    write_whole(comparison.directory.config, dump_config(comparison.config), durable=True)


def _open(run: ComparedRun, data: Path, job: Job) -> AbstractContextManager[Lane | None]:
    place = Place(path=run.path, name=run.name, turn=run.experiment)
    return open_lane(_with_data(run.config, data), place, job)


def _with_data(config: RunConfig, data: Path) -> RunConfig:
    problem = config.problem.model_copy(update={"path": str(data.absolute())})
    return config.model_copy(update={"problem": problem})


def unequal_starts(comparison: Comparison) -> Iterator[str]:
    """A line for each experiment whose arms did not begin with the same populations."""
    for experiment in range(comparison.experiments):
        starts = {
            run.arm: _start_digest(run) for run in comparison.runs if run.experiment == experiment
        }
        known = {digest for digest in starts.values() if digest is not None}
        if len(known) > 1:
            yield (
                f"experiment {experiment}: its arms began with different populations, because they "
                f"differ in space or tuner"
            )


def _start_digest(run: ComparedRun) -> str | None:
    """Of the populations that a search began with; None before it has."""
    try:
        return str(load_checkpoint(RunDirectory(run.path).start).about["start"])
    except (DamagedCheckpoint, KeyError):
        return None

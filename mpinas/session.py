"""One job's part of a run: claim the directory, resume, drive the search, say how it ended.

This is what ``python -m mpinas run`` calls in the searching process. It wires the configuration
to the registries of all packages, makes the run directory, and turns signals into an orderly end.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from mpinas.checkpoint import START, DamagedCheckpoint, load_checkpoint
from mpinas.clock import Clock
from mpinas.config import ProblemConfig, RunConfig, parse_walltime_s
from mpinas.config_file import Knowledge, differing_keys, dump_config, load_config
from mpinas.dispatch.base import Executor
from mpinas.errors import RunDirectoryFault, fault
from mpinas.monitor import Monitor
from mpinas.problems import (
    check_problem,
    check_problem_section,
    open_prepared,
    part_sizes,
    prepare,
)
from mpinas.pump import Pump
from mpinas.records import ProblemSpec
from mpinas.run_directory import (
    RunDirectory,
    claim,
    create_run_directory,
    is_alive,
    release,
    write_whole,
)
from mpinas.search import Search, Setting
from mpinas.space.presets import SPACES
from mpinas.space.search_space import build_space, check_space
from mpinas.tuners import TUNERS

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)

KNOWLEDGE = Knowledge(
    tuners={name: entry.config for name, entry in TUNERS.items()},
    spaces=SPACES,
    checks={"space": check_space, "problem": check_problem_section},
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says beside the configuration.

    Attributes:
        out: the run directory; None for ``runs/<name>`` under the current one.
        overrides: ``key=value``, the command line's own options among them.
        start_from: checkpoint ``start.h5`` of another run, whose populations are taken.
        fresh: set an old run in the directory aside.
    """

    config: Path
    out: Path | None = None
    overrides: Sequence[str] = ()
    start_from: Path | None = None
    fresh: bool = False


def read_config(options: RunOptions) -> RunConfig:
    """The configuration, complete, with the path of the data made absolute.

    Raises:
        ConfigurationFaults: all that is wrong with it.
    """
    config = load_config(options.config, options.overrides, KNOWLEDGE)
    if config.problem.path is None:
        return config
    problem = config.problem.model_copy(
        update={"path": str(Path(config.problem.path).expanduser().absolute())}
    )
    return config.model_copy(update={"problem": problem})


def run_path(config: RunConfig, options: RunOptions) -> Path:
    """Where the run stands."""
    return options.out if options.out is not None else Path("runs") / config.name


def run_search(
    config: RunConfig, options: RunOptions, executor: Executor, stopping: Callable[[], bool]
) -> bool:
    """Starts a run or goes on with it, until it is done or has to stop.

    Args:
        executor: with its workers ready; it stays the caller's to close.
        stopping: whether the search was asked to stop, see :func:`stop_signals`.

    Returns:
        True when the search is done, False when it was stopped and can go on later.

    Raises:
        UserMustChange: nothing was started, nothing written.
        NoWorkerLeft: nobody is left to run a trial.
    """
    clock = _clock(config, time.monotonic())
    start_state = _load_start(config, options.start_from) if options.start_from else None
    directory = _open_directory(config, run_path(config, options), fresh=options.fresh)
    if options.start_from is not None:
        _check_start(directory, options.start_from)
    owner = claim(directory, config.run.heartbeat_s)
    try:
        with _logging_to(directory.log):
            write_whole(directory.config, dump_config(config))
            search = Search(search_setting(config, directory.problem), directory, start_state)
            monitor = Monitor(
                directory,
                owner,
                workers=executor.workers(),
                generations=config.tuner.generations,
            )
            pump = Pump(
                search=search,
                executor=executor,
                clock=clock,
                monitor=monitor,
                stopping=stopping,
                grace_s=config.run.grace_s,
            )
            return _drive(pump, search, monitor)
    finally:
        release(directory, owner)


def _drive(pump: Pump, search: Search, monitor: Monitor) -> bool:
    """Pumps to the end; however that comes, the status file says how it stands."""
    done = search.done
    monitor.write(search.generation, "done" if done else "running", now=True)
    try:
        done = done or pump.run()
    finally:
        status = "done" if done else "stopped"
        monitor.write(search.generation, status, now=True)
        logger.info("%s at generation %d", status, search.generation)
    return done


def _open_directory(config: RunConfig, path: Path, *, fresh: bool) -> RunDirectory:
    """An existing run if it is the same search, or a new one with its data prepared.

    Raises:
        RunDirectoryFault: it holds another search.
        DataFault: the data cannot be used; nothing is left behind.
    """
    directory = RunDirectory(path)
    if directory.exists() and fresh:
        _set_aside(directory)
    if not directory.exists():
        return create_run_directory(path, lambda new: fill_directory(config, new))
    stored = load_config(directory.config, (), KNOWLEDGE)
    differing = differing_keys(stored, config)
    if differing:
        raise RunDirectoryFault(
            fault(
                str(path),
                "holds another search",
                "; ".join(differing),
                cure="Use the same configuration, another --out, or --fresh to begin anew",
            )
        )
    return directory


def _set_aside(directory: RunDirectory) -> None:
    """Renames an old run, so that ``--fresh`` destroys nothing."""
    if is_alive(directory):
        raise RunDirectoryFault(
            fault(str(directory.path), "another job is working in this run directory")
        )
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = directory.path.with_name(f"{directory.path.name}.{stamp}")
    directory.path.rename(aside)
    logger.warning("the old run is kept as %s", aside)


def fill_directory(config: RunConfig, directory: RunDirectory) -> None:
    """Prepares and checks the data of a new run, and writes its configuration.

    Raises:
        DataFault: the data cannot be used.
    """
    prepare(config.problem, directory.problem)
    prepared = open_prepared(directory.problem)
    check_problem(config.problem, prepared, config.trial.batch_size)
    write_whole(directory.config, dump_config(config))


def search_setting(config: RunConfig, prepared_file: Path) -> Setting:
    """Everything a search has to know, out of its configuration and prepared data."""
    prepared = open_prepared(prepared_file)
    training_images, validation_images = part_sizes(
        len(prepared.y_train),
        validation=config.problem.validation,
        train_images=config.problem.train_images,
    )
    space = build_space(config.space, config.trial)
    return Setting(
        config=config,
        tuner=TUNERS[config.tuner.name].build(config.tuner, space),
        space=space,
        problem=problem_spec(config.problem, prepared_file, config.seed),
        image_shape=prepared.image_shape,
        classes=prepared.classes,
        training_images=training_images,
        validation_images=validation_images,
    )


def problem_spec(problem: ProblemConfig, prepared_file: Path, seed: int) -> ProblemSpec:
    """The problem as every trial of a run gets it."""
    return ProblemSpec(
        name=problem.name,
        path=str(prepared_file.absolute()),
        train_images=problem.train_images,
        validation=problem.validation,
        split_seed=seed,
    )


def _load_start(config: RunConfig, path: Path) -> Any:
    """Starting populations out of a file, if they fit this configuration.

    Raises:
        RunDirectoryFault: no such file, damaged, or of another space or tuner.
    """
    try:
        start = load_checkpoint(path)
    except DamagedCheckpoint as error:
        raise RunDirectoryFault(fault("--start-from", str(error))) from error
    here = {
        "space": config.space.model_dump(mode="json"),
        "tuner": config.tuner.model_dump(mode="json", exclude={"generations"}),
    }
    differing = [key for key, value in here.items() if start.about.get(key) != value]
    if start.generation != START or differing:
        rule = (
            f"its populations were made with another {' and '.join(differing)}"
            if differing
            else "not starting populations"
        )
        raise RunDirectoryFault(
            fault("--start-from", rule, str(path), "Allowed: checkpoints/start.h5 of a run")
        )
    tuner = TUNERS[config.tuner.name].build(config.tuner, build_space(config.space, config.trial))
    try:
        return tuner.state_from_plain(start.state, start.history)
    except ValueError as error:
        raise RunDirectoryFault(fault("--start-from", str(error), str(path))) from error


def _check_start(directory: RunDirectory, path: Path) -> None:
    """Refuses starting populations for a run that has others already.

    Raises:
        RunDirectoryFault: the run in the directory began with other populations.
    """
    try:
        begun, wanted = load_checkpoint(directory.start), load_checkpoint(path)
    except DamagedCheckpoint:
        return
    if (begun.state, begun.history) != (wanted.state, wanted.history):
        raise RunDirectoryFault(
            fault(
                "--start-from",
                f"the run in {directory.path} began with other populations",
                str(path),
                cure="Give another --out, or --fresh to begin anew",
            )
        )


def _clock(config: RunConfig, began_s: float) -> Clock:
    walltime = config.run.walltime
    deadline_s = None if walltime is None else began_s + parse_walltime_s(walltime)
    return Clock(deadline_s=deadline_s, reserve_s=config.run.grace_s, now_s=time.monotonic)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """While inside, signals that ask for an end only set a flag; gives what reads it."""
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in STOP_SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _logging_to(path: Path) -> Iterator[None]:
    """Adds the run's log file, UTC times, for all of the package."""
    handler = logging.FileHandler(path)
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    package = logging.getLogger("mpinas")
    package.addHandler(handler)
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()
